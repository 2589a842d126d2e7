"""The artifact store on a real S3 server: what is stored comes back, and what goes wrong is said."""

import os
import signal
import subprocess
import sys
import textwrap
import time

import pytest
from sqlalchemy import select

from embedded.processes import running
from registry.errors import LostBytesError, UnavailableError
from registry.storage.artifacts import ArtifactStore, StoreLimits
from registry.tables import ArtifactRow, ArtifactState
from registry.upkeep.gc import NOTHING_KEPT, sweep
from registry.upkeep.orphans import find_orphans
from tests.registry.measured import put
from tests.registry.s3 import S3Server, free_port


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A server with an empty bucket; tests that stop it start it again."""
    folder = tmp_path_factory.mktemp("s3")
    (folder / "data" / "bucket").mkdir(parents=True)
    server = S3Server(folder / "data", free_port())
    with running(server.service(), folder / "s3.log"):
        yield server


@pytest.fixture
def url(tmp_path):
    """A part of the bucket for this test alone."""
    return f"s3://bucket/{tmp_path.name}"


@pytest.fixture
def remote(server, url, tmp_path, monkeypatch):
    """A store on the server, with a cache of its own."""
    for name, value in server.environment().items():
        monkeypatch.setenv(name, value)
    return ArtifactStore(url, tmp_path / "cache")


def stored_path(server, url, artifact):
    name = artifact.sha256.hex()
    return server.data / url.removeprefix("s3://") / name[:2] / name


def test_put_head_get_list_delete(server, remote, url, sessions, tmp_path):
    large = os.urandom(12_000_000)  # in several parts
    artifact = put(remote, sessions, large)
    assert stored_path(server, url, artifact).read_bytes() == large
    assert remote.holds(artifact)
    other_host = ArtifactStore(url, tmp_path / "another cache")
    copy = other_host.open_local(artifact.sha256)
    assert copy.read_bytes() == large
    stored_path(server, url, artifact).rename(tmp_path / "away")
    assert other_host.open_local(artifact.sha256) == copy, "fetched once"
    (tmp_path / "away").rename(stored_path(server, url, artifact))
    assert [(size, key[3:]) for key, size, _ in remote.stored_objects()] == [(len(large), artifact.sha256.hex())]
    assert sweep(sessions, remote, NOTHING_KEPT).artifacts == 1
    assert not remote.holds(artifact)
    assert list(remote.stored_objects()) == []
    remote.remove(artifact.sha256)  # twice is harmless


@pytest.mark.parametrize("wrong", [b"forged!", b"conten", b""], ids=["other bytes", "truncated", "empty"])
def test_what_is_not_what_its_name_says_is_refused(server, remote, url, sessions, wrong):
    artifact = put(remote, sessions, b"content")
    stored_path(server, url, artifact).write_bytes(wrong)
    with pytest.raises(LostBytesError, match="does not match its hash"):
        remote.open_local(artifact.sha256)
    if len(wrong) != 7:
        assert put(remote, sessions, b"content") == artifact, "an upload mends what has another size"
        assert remote.open_local(artifact.sha256).read_bytes() == b"content"
    remote.remove(artifact.sha256)
    with pytest.raises(LostBytesError, match="missing from the store"):
        ArtifactStore(url, remote.spool.parent / "fresh").open_local(artifact.sha256)


def test_a_copy_that_rotted_in_the_cache_is_fetched_again(remote, url, sessions, tmp_path):
    artifact = put(remote, sessions, b"content")
    remote.open_local(artifact.sha256).write_bytes(b"CONTENT")
    assert ArtifactStore(url, tmp_path / "cache").open_local(artifact.sha256).read_bytes() == b"content"


def test_wrong_credentials_are_said_to_be_the_stores_fault(remote, url, sessions, monkeypatch, tmp_path):
    artifact = put(remote, sessions, b"content")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "another")
    stranger = ArtifactStore(url, tmp_path / "stranger")
    with pytest.raises(UnavailableError, match="SAT_ARTIFACTS"):
        stranger.open_local(artifact.sha256)
    with pytest.raises(UnavailableError):
        put(stranger, sessions, b"other content")
    with sessions() as session:
        assert session.scalars(select(ArtifactRow.bytes)).all() == [7], "nothing is reserved for what was not stored"


def test_a_server_that_is_away_and_comes_back(url, tmp_path, sessions, monkeypatch):
    (tmp_path / "data" / "bucket").mkdir(parents=True)
    server = S3Server(tmp_path / "data", free_port())
    for name, value in server.environment().items():
        monkeypatch.setenv(name, value)
    store = ArtifactStore(url, tmp_path / "cache")
    with running(server.service(), tmp_path / "s3.log"):
        artifact = put(store, sessions, b"content")
    started = time.monotonic()
    with pytest.raises(UnavailableError, match="does not answer"):
        put(store, sessions, b"more")
    with pytest.raises(UnavailableError):
        sweep(sessions, store, NOTHING_KEPT)
    assert time.monotonic() - started < 60, "nobody waits for minutes"
    with sessions() as session:
        assert session.get_one(ArtifactRow, artifact.sha256).state is ArtifactState.CONDEMNED
    with running(server.service(), tmp_path / "s3.log"):
        assert store.open_local(artifact.sha256).read_bytes() == b"content"
        assert put(store, sessions, b"content") == artifact, "taken back"
        assert sweep(sessions, store, NOTHING_KEPT).artifacts == 1


KILLED = """
    import sys
    from pathlib import Path
    from registry.storage.artifacts import ArtifactStore
    from registry.database import make_engine, make_sessions

    store = ArtifactStore(sys.argv[1], Path(sys.argv[3]))
    print("begins", flush=True)
    store.put_file(Path(sys.argv[4]), "test", make_sessions(make_engine(sys.argv[2])))
"""


def test_an_upload_that_is_killed_leaves_a_row_and_no_object(remote, url, sessions, database_url, tmp_path):
    file = tmp_path / "large"
    content = os.urandom(24_000_000)
    file.write_bytes(content)
    command = [sys.executable, "-c", textwrap.dedent(KILLED), url, database_url, str(tmp_path / "killed"), str(file)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as uploading:
        assert uploading.stdout.readline() == b"begins\n"

        def reserved() -> bool:
            with sessions() as session:
                return session.scalars(select(ArtifactRow.state)).all() == [ArtifactState.WRITING]

        while not reserved():
            assert uploading.poll() is None
            time.sleep(0.001)
        uploading.send_signal(signal.SIGKILL)
    assert list(remote.stored_objects()) == []
    assert reserved()
    artifact = put(remote, sessions, content)
    assert remote.holds(artifact), "the same upload again goes on"
    assert sweep(sessions, remote, NOTHING_KEPT).artifacts == 1
    with sessions() as session:
        assert find_orphans(session, remote) == []


def test_the_cache_keeps_to_its_size(remote, url, sessions, tmp_path):
    limited = ArtifactStore(url, tmp_path / "limited", StoreLimits(cache=250_000))
    artifacts = [put(remote, sessions, bytes([number]) * 100_000) for number in range(4)]
    copies = tmp_path / "limited" / "copies"
    for number, artifact in enumerate(artifacts):
        path = limited.open_local(artifact.sha256)
        # asked for an hour ago, in this order
        os.utime(path, (time.time() - 3600 + number, path.stat().st_mtime))
    assert {path.name for path in copies.iterdir()} == {each.sha256.hex() for each in artifacts[2:]}
    limited.open_local(artifacts[2].sha256)
    limited.open_local(artifacts[0].sha256)
    assert {path.name for path in copies.iterdir()} == {artifacts[0].sha256.hex(), artifacts[2].sha256.hex()}
