"""Bytes are stored once under their sha256, and are what they were."""

import contextlib
import hashlib
import os
import resource
import threading
import time

import pytest
from sqlalchemy import select

from registry.errors import LostBytesError, StorageFullError, UnavailableError
from registry.storage.artifacts import ArtifactStore, StoreLimits, write_artifact
from registry.storage.local_cache import LocalCache
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


@pytest.fixture
def full_disk():
    """For this process, files beyond a kilobyte do not fit, as on a disk that is full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_is_told_apart_from_other_failures(store, sessions, tmp_path, full_disk):
    with pytest.raises(StorageFullError, match="sat gc"):
        put(store, sessions, b"x" * 2000)  # while the file is made
    with sessions() as session:
        assert session.scalars(select(ArtifactRow)).all() == []
    (tmp_path / "small").write_bytes(b"x" * 900)
    store.put_file(tmp_path / "small", "test", sessions)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    (tmp_path / "large").write_bytes(b"x" * 2000)
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    with pytest.raises(StorageFullError, match="sat gc"):
        store.put_file(tmp_path / "large", "test", sessions)  # while it is stored
    with sessions() as session:
        assert session.scalars(select(ArtifactRow.bytes)).all() == [900], "nothing is reserved for what was refused"


def test_a_disk_that_is_nearly_full_takes_nothing(sessions, tmp_path):
    store = ArtifactStore(str(tmp_path / "artifacts"), tmp_path / "cache", StoreLimits(min_free=1 << 60))
    with pytest.raises(StorageFullError, match="SAT_MIN_FREE_BYTES"):
        put(store, sessions, b"content")
    with sessions() as session:
        assert session.scalars(select(ArtifactRow)).all() == []


def test_the_last_room_is_given_to_one(sessions, tmp_path):
    """Law: whatever writers do at once, the rows never add up to more than the quota."""
    limited = ArtifactStore(str(tmp_path / "artifacts"), tmp_path / "cache", StoreLimits(quota=2500))
    taken, refused = [], []

    def write(number: int) -> None:
        try:
            taken.append(put(limited, sessions, bytes([number]) * 1000))
        except StorageFullError:
            refused.append(number)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(taken), len(refused)) == (2, 4)
    again = limited.open_local(taken[0].sha256).read_bytes()
    assert put(limited, sessions, again) == taken[0], "what is there needs no room"


def test_wrong_bytes_are_refused_and_mended_by_an_upload(store, sessions, tmp_path):
    artifact = put(store, sessions, b"content")
    store.open_local(artifact.sha256).write_bytes(b"CONTENT")
    another_process = ArtifactStore(str(tmp_path / "artifacts"), tmp_path / "cache")
    with pytest.raises(LostBytesError, match="does not match its hash"):
        another_process.open_local(artifact.sha256)
    assert put(another_process, sessions, b"content") == artifact
    assert another_process.open_local(artifact.sha256).read_bytes() == b"content"


def test_a_cache_that_several_processes_trim_keeps_to_its_size(tmp_path):
    caches = [LocalCache(tmp_path / "copies", 10_000) for _ in range(3)]

    def fill(cache: LocalCache, number: int) -> None:
        for turn in range(20):
            part = tmp_path / f"part-{number}-{turn}"
            part.write_bytes(b"x" * 1000)
            name = hashlib.sha256(part.name.encode()).digest()
            path = cache.admit(part, name)
            os.utime(path, (time.time() - 3600, time.time()))
            assert cache.find(name) in (path, None)
            with contextlib.suppress(FileNotFoundError):
                os.utime(path, (time.time() - 3600, time.time()))

    threads = [threading.Thread(target=fill, args=(cache, number)) for number, cache in enumerate(caches)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    caches[0].trim()
    assert sum(path.stat().st_size for path in (tmp_path / "copies").iterdir()) <= 10_000
