"""Workers on two hosts share a database, a broker and a bucket, and nothing else: `make test-storage`."""

import os

import pytest
from sqlalchemy import func, select

from embedded.processes import running
from registry.tables import WorkerRow
from registry.upkeep.orphans import find_orphans
from tests.registry.s3 import S3Server, free_port
from tests.worker.conftest import make_workshop

pytestmark = pytest.mark.skipif("SAT_TEST_STORAGE" not in os.environ, reason="takes a while: make test-storage")


@pytest.fixture
def on_s3(sessions, empty_redis, checkpoints, tmp_path, monkeypatch):
    """A workshop whose artifacts are in a bucket of a real S3 server."""
    (tmp_path / "data" / "bucket").mkdir(parents=True)
    database_url = sessions.kw["bind"].url.render_as_string(hide_password=False)
    server = S3Server(tmp_path / "data", free_port())
    for name, value in server.environment().items():
        monkeypatch.setenv(name, value)
    with running(server.service(), tmp_path / "s3.log"):
        workshop = make_workshop(
            sessions, database_url, empty_redis, checkpoints, tmp_path, artifacts="s3://bucket/registry"
        )
        yield workshop
        workshop.stop_all()


def test_one_registration_after_another_is_measured_over_s3_by_two_hosts(on_s3, members, fault_free):
    for host in ("one", "two"):
        on_s3.start_worker(SAT_CACHE=str(on_s3.folder / host))
    on_s3.register(members[0])
    on_s3.register(members[1])
    on_s3.wait(lambda: len(on_s3.measured()["transfers"]) == 4 and on_s3.idle(), seconds=240)
    assert on_s3.measured() == fault_free, "bit for bit what a folder on one host gives"
    with on_s3.sessions() as session:
        assert find_orphans(session, on_s3.store) == []
        assert session.scalars(select(func.count()).select_from(WorkerRow)).one() == 2
    for host in ("one", "two"):
        assert list((on_s3.folder / host / "spool").iterdir()) == []
        assert {len(copy.name) for copy in (on_s3.folder / host / "copies").iterdir()} <= {64}
