"""Bytes are stored once under their sha256, and are what they were."""

import hashlib
import os
import time

import pytest
from sqlalchemy import select

from registry.artifacts import ArtifactStore, write_artifact
from registry.errors import UnavailableError
from registry.tables import ArtifactRow, ArtifactState


@pytest.fixture
def store(tmp_path):
    return ArtifactStore(str(tmp_path / "artifacts"), tmp_path / "cache")


def put(store, sessions, content: bytes):
    return write_artifact(store, sessions, "test", lambda path: path.write_bytes(content))


def test_what_is_stored_comes_back_under_its_hash(store, sessions):
    artifact = put(store, sessions, b"x" * 3_000_000)
    assert artifact.sha256 == hashlib.sha256(b"x" * 3_000_000).digest()
    assert store.open_local(artifact.sha256).read_bytes() == b"x" * 3_000_000
    with sessions() as session:
        row = session.scalars(select(ArtifactRow)).one()
    assert (row.bytes, row.state) == (3_000_000, ArtifactState.STORED)


def test_storing_twice_keeps_one(store, sessions):
    assert put(store, sessions, b"same") == put(store, sessions, b"same")
    with sessions() as session:
        assert len(session.scalars(select(ArtifactRow)).all()) == 1


def test_nothing_is_left_in_the_spool(store, sessions):
    put(store, sessions, b"content")
    with pytest.raises(TypeError):
        write_artifact(store, sessions, "test", lambda path: path / 0)
    assert list(store.spool.iterdir()) == []


def test_what_a_killed_process_left_in_the_spool_a_day_ago_is_swept(store, tmp_path):
    (store.spool / "folder").mkdir()
    (store.spool / "folder" / "weights").touch()
    for name in ("old", "new"):
        (store.spool / name).touch()
    yesterday = time.time() - 25 * 3600
    for name in ("folder", "old"):
        os.utime(store.spool / name, (yesterday, yesterday))
    again = ArtifactStore(str(tmp_path / "artifacts"), tmp_path / "cache")
    assert [path.name for path in again.spool.iterdir()] == ["new"]


def test_missing_bytes_are_said_to_be_missing(store, sessions):
    artifact = put(store, sessions, b"content")
    store.open_local(artifact.sha256).unlink()
    assert not store.holds(artifact)
    with pytest.raises(UnavailableError, match="missing from the store"):
        store.open_local(artifact.sha256)
    assert put(store, sessions, b"content") == artifact
    assert store.holds(artifact)


def test_truncated_bytes_are_written_again(store, sessions):
    artifact = put(store, sessions, b"content")
    store.open_local(artifact.sha256).write_bytes(b"con")
    assert put(store, sessions, b"content") == artifact
    assert store.open_local(artifact.sha256).read_bytes() == b"content"


def test_a_remote_object_is_copied_once_and_verified(tmp_path, sessions):
    (tmp_path / "remote").mkdir()
    remote = ArtifactStore((tmp_path / "remote").as_uri(), tmp_path / "cache")
    artifact = put(remote, sessions, b"content")
    copy = remote.open_local(artifact.sha256)
    assert copy.parent == tmp_path / "cache" / "copies"
    assert copy.read_bytes() == b"content"
    copy.unlink()
    stored = next(path for path in (tmp_path / "remote").rglob("*") if path.is_file())
    stored.write_bytes(b"forged!")
    with pytest.raises(UnavailableError, match="does not match its hash"):
        remote.open_local(artifact.sha256)
    assert not copy.exists()
