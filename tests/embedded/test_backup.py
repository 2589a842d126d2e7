"""Save, wipe, bring back: the same answers, byte for byte."""

import os
import shutil
from contextlib import contextmanager

import numpy as np
import pytest
from fastapi.testclient import TestClient
from sqlalchemy import update

from api.app import create_app
from embedded.backup import DUMP, MANIFEST, back_up, bring_back
from embedded.errors import EmbeddedError
from embedded.folder import FolderLock, make_data_folder
from embedded.postgres import Postgres
from embedded.processes import running
from embedded.sockets import remove_socket_folder, renew_socket_folder
from registry.__main__ import migrate
from registry.database import make_engine, make_sessions
from registry.settings import Settings
from registry.storage.artifacts import ArtifactStore, write_artifact
from registry.tables import ArtifactRow, NetworkRow
from tests.api.world import World

QUESTIONS = (
    "/models", "/models/vit-a", "/similar/vit-a", "/pairs/vit-a/vit-b", "/matrix", "/matrix?format=csv",
    "/recommend/ensemble?n=3&wait=0", "/comparisons", "/image-sets", "/protocols", "/models/vit-a/checkpoint",
)  # fmt: skip


def quiet(_sentence: str) -> None:
    pass


@pytest.fixture(autouse=True)
def no_store_elsewhere(monkeypatch):
    monkeypatch.delenv("SAT_ARTIFACTS", raising=False)


@contextmanager
def database(home):
    """The data folder's PostgreSQL, as a stack would run it."""
    make_data_folder(home)
    postgres = Postgres(home / "postgres", renew_socket_folder(home / "sockets"), quiet, durable=False)
    with running(postgres.service(), home / "logs" / "postgres.log"):
        yield postgres
    remove_socket_folder(home / "sockets")


def fill(home) -> None:
    """Three measured models; the checkpoint of one is really there."""
    with database(home) as postgres:
        postgres.create_database()
        migrate(postgres.url())
        engine = make_engine(postgres.url())
        sessions = make_sessions(engine)
        world = World(sessions, np.random.default_rng(0))
        world.add_comparison()
        for model in ("resnet-a", "vit-a", "vit-b"):
            world.add_model(model)
        world.measure()
        store = ArtifactStore(str(home / "artifacts"), home / "cache")
        made = write_artifact(store, sessions, "checkpoint", lambda path: path.write_bytes(b"weights" * 1000))
        with sessions.begin() as session:
            session.execute(update(NetworkRow).values(weights=made.sha256))
            assert session.get_one(ArtifactRow, made.sha256).bytes == 7000
        engine.dispose()


def answers(home, redis_url):
    """What the registry in the folder answers: status, tag and bytes of each question."""
    with database(home) as postgres:
        settings = Settings.model_validate(
            {
                "database_url": postgres.url(),
                "redis_url": redis_url,
                "artifacts": str(home / "artifacts"),
                "cache": home / "cache",
                "keys": "loopback",
                "allowed_hosts": ("*",),
            }
        )
        with TestClient(create_app(settings)) as api:
            api.app.state.services.watch.refresh()
            found = {}
            for question in QUESTIONS:
                answer = api.get(question)
                found[question] = (answer.status_code, answer.headers.get("ETag"), answer.content)
    return found


@pytest.fixture
def synced(monkeypatch):
    """The inodes of what this process has had written to the disk itself, in order."""
    seen, sync = [], os.fsync

    def note(handle: int) -> None:
        seen.append(os.fstat(handle).st_ino)
        sync(handle)

    monkeypatch.setattr(os, "fsync", note)
    return seen


def test_what_is_brought_back_answers_the_same_byte_for_byte(tmp_path, redis_url, synced):
    home, saved = tmp_path / "home", tmp_path / "saved"
    fill(home)
    before = answers(home, redis_url)
    assert {question: status for question, (status, _, _) in before.items() if status not in (200, 202)} == {}
    assert sum(tag is not None for _, tag, _ in before.values()) >= 8
    with database(home):  # the stack may run: then its own server is asked
        lock = FolderLock(home)
        assert lock.acquire()
        synced.clear()
        made = back_up(home, saved, quiet)
        lock.release()
    everything = {path.stat().st_ino for path in (saved, *saved.rglob("*"))}
    assert set(synced) >= everything, "a backup that is whole outlasts the loss of power"
    assert synced[-2:] == [(saved / MANIFEST).stat().st_ino, saved.stat().st_ino]
    assert (made.files, made.bytes) == (1, 7000)
    shutil.rmtree(home)

    dump = (saved / DUMP).read_bytes()
    (saved / DUMP).write_bytes(dump[: len(dump) // 2])
    with pytest.raises(EmbeddedError, match="pg_restore failed"):
        bring_back(home, saved, quiet)
    assert not (home / "postgres").exists(), "no half registry"
    (saved / DUMP).write_bytes(dump)
    assert bring_back(home, saved, quiet) == made
    assert answers(home, redis_url) == before
    with pytest.raises(EmbeddedError, match="holds a registry already"):
        bring_back(home, saved, quiet)
    with pytest.raises(EmbeddedError, match="not empty"):
        back_up(home, saved, quiet)


def test_what_cannot_be_saved_or_brought_back_is_said(tmp_path, monkeypatch):
    with pytest.raises(EmbeddedError, match="no registry"):
        back_up(tmp_path / "nothing", tmp_path / "saved", quiet)
    with pytest.raises(EmbeddedError, match=MANIFEST):
        bring_back(tmp_path / "home", tmp_path, quiet)
    (tmp_path / MANIFEST).write_text("{}")
    with pytest.raises(EmbeddedError, match="cannot be read"):
        bring_back(tmp_path / "home", tmp_path, quiet)
    (tmp_path / MANIFEST).write_text(
        '{"made_at": "now", "migration": "0002", "files": 0, "bytes": 0, "elsewhere": "s3://bucket"}'
    )
    with pytest.raises(EmbeddedError, match="set SAT_ARTIFACTS"):
        bring_back(tmp_path / "home", tmp_path, quiet)
    monkeypatch.setenv("SAT_ARTIFACTS", "s3://bucket")
    lock = FolderLock(tmp_path / "home")
    assert lock.acquire()
    with pytest.raises(EmbeddedError, match="stop it first"):
        bring_back(tmp_path / "home", tmp_path, quiet)
    lock.release()
