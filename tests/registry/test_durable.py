"""What is confirmed lies on the disk: the file, its name, and the name of its folder, before the row says `stored`."""

import os

import pytest
from sqlalchemy import select

from registry.errors import UnavailableError
from registry.storage.artifacts import ArtifactStore, write_artifact
from registry.tables import ArtifactRow, ArtifactState


@pytest.fixture
def store(tmp_path):
    return ArtifactStore(str(tmp_path / "artifacts"), tmp_path / "cache")


@pytest.fixture
def synced(monkeypatch, sessions):
    """(inode, states of the rows) of everything that is synchronised, as it is."""
    seen = []
    sync = os.fsync

    def note(handle: int) -> None:
        with sessions() as session:
            seen.append((os.fstat(handle).st_ino, list(session.scalars(select(ArtifactRow.state)))))
        sync(handle)

    monkeypatch.setattr(os, "fsync", note)
    return seen


def put(store, sessions):
    return write_artifact(store, sessions, "test", lambda path: path.write_bytes(b"content"))


def test_bytes_and_their_names_are_on_the_disk_before_the_row_is_confirmed(store, sessions, synced, tmp_path):
    path = store.open_local(put(store, sessions).sha256)
    named = (path, path.parent, tmp_path / "artifacts")
    assert synced == [(each.stat().st_ino, [ArtifactState.WRITING]) for each in named]


def test_bytes_that_a_killed_process_left_are_synchronised_before_they_are_confirmed(store, sessions, synced):
    path = store.open_local(put(store, sessions).sha256)
    with sessions.begin() as session:
        session.scalars(select(ArtifactRow)).one().state = ArtifactState.WRITING
    synced.clear()
    put(store, sessions)
    assert (path.stat().st_ino, [ArtifactState.WRITING]) in synced


def test_bytes_that_the_disk_did_not_take_are_not_confirmed(store, sessions, monkeypatch):
    def fail(_handle: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(UnavailableError, match="took no more bytes"):
        put(store, sessions)
    assert list(store.stored_objects()) == []
    with sessions() as session:
        assert session.scalars(select(ArtifactRow)).all() == []
