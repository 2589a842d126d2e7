"""How a job ends on which the worker itself, and not the network, has failed."""

import time

import pytest
from sqlalchemy import select

from registry.bell import Bell
from registry.database import make_engine, make_sessions
from registry.jobs import hold, want
from registry.settings import Settings
from registry.storage.artifacts import ArtifactStore
from registry.tables import JobKind, JobRow, JobState
from worker.context import Context
from worker.device import Device
from worker.images import ImageSets
from worker.runner import run


@pytest.fixture
def context(small, database_url, redis_url, tmp_path):
    """A worker process in this one."""
    settings = Settings(
        database_url=database_url, redis_url=redis_url, artifacts=str(tmp_path / "artifacts"), cache=tmp_path / "cache"
    )
    store, bell = ArtifactStore(settings.artifacts, settings.cache), Bell(redis_url)
    yield Context(
        settings=settings, sessions=small.sessions, store=store, bell=bell, device=Device("cpu", "cpu"),
        worker_id=small.worker_id, image_sets=ImageSets(store),
    )  # fmt: skip
    bell.close()


def test_a_transaction_that_ended_while_the_worker_was_frozen_is_no_attempt(context, small, database_url):
    network = small.add_network("a")
    with small.sessions.begin() as session:
        want(session, JobKind.ATTACK, network_id=network, comparison_id=small.comparison_id)
    engine = make_engine(database_url, idle_seconds=0.2)

    def freeze(_context, lease):
        with make_sessions(engine)() as session:
            hold(session, lease.claim)
            time.sleep(0.5)
            session.execute(select(1))

    run(context, small.claim(), freeze)
    engine.dispose()
    with small.sessions() as session:
        job = session.scalars(select(JobRow)).one()
    assert (job.state, job.attempt, job.failure) == (JobState.QUEUED, 0, None)
