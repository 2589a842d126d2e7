"""How a job ends on which the worker itself, and not the network, has failed."""

import time

from sqlalchemy import select

from registry.database import make_engine, make_sessions
from registry.jobs import hold
from registry.tables import JobKind, JobRow, JobState
from registry.wanting import want
from worker.runner import run


def test_a_transaction_that_ended_while_the_worker_was_frozen_is_no_attempt(worker_context, small, database_url):
    network = small.add_network("a")
    with small.sessions.begin() as session:
        want(session, JobKind.ATTACK, network_id=network, comparison_id=small.comparison_id)
    engine = make_engine(database_url, idle_seconds=0.2)

    def freeze(_context, lease):
        with make_sessions(engine)() as session:
            hold(session, lease.claim)
            time.sleep(0.5)
            session.execute(select(1))

    run(worker_context, small.claim(), freeze)
    engine.dispose()
    with small.sessions() as session:
        job = session.scalars(select(JobRow)).one()
    assert (job.state, job.attempt, job.failure) == (JobState.QUEUED, 0, None)
