"""A worker killed with -9 in the middle of any kind of job loses nothing and counts nothing twice."""

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from redis import Redis
from sqlalchemy import func, select, text

from registry.analyses import find_analysis, request_analysis
from registry.database import transaction
from registry.tables import AnalysisKind, ComparisonRow, JobKind, JobRow, JobState, NetworkRow, PairRow

# What each kind of job writes last: with the table locked, the work is done and not recorded.
WRITES = {
    JobKind.PREPARE: "networks",
    JobKind.EVALUATE: "evaluations",
    JobKind.ATTACK: "attacks",
    JobKind.TRANSFERS: "transfers",
}
WITHIN_SECONDS = 30


@contextmanager
def locked(workshop, table) -> Iterator[None]:
    """Nobody writes to the table while the block runs; reads go on."""
    with workshop.sessions() as session:
        session.execute(text(f"lock table {table} in exclusive mode"))
        yield
        session.rollback()


def is_waiting(workshop, kind) -> bool:
    """Whether a job of the kind runs and its worker waits for a lock: its result is made and not recorded."""
    with workshop.sessions() as session:
        running = session.scalars(
            select(JobRow.id).where(JobRow.kind == kind, JobRow.state == JobState.RUNNING)
        ).first()
        waiting = session.execute(
            text(
                "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'"
            )
        ).scalar_one()
        return running is not None and waiting > 0


def is_taken_again(workshop, kind, fence) -> bool:
    with workshop.sessions() as session:
        return bool(session.scalars(select(JobRow.id).where(JobRow.kind == kind, JobRow.fence > fence)).all())


def highest_fence(workshop, kind) -> int:
    with workshop.sessions() as session:
        return session.scalars(select(func.max(JobRow.fence)).where(JobRow.kind == kind)).one()


def kill(worker) -> None:
    worker.send_signal(signal.SIGKILL)
    worker.wait()


def all_measured(workshop) -> bool:
    with workshop.sessions() as session:
        pairs = session.scalars(select(PairRow)).all()
    return len(pairs) == 1 and pairs[0].rungs == 2 and pairs[0].fooled_both is not None and workshop.idle()


@pytest.mark.parametrize("kind", list(WRITES))
def test_killed_in_the_middle(workshop, members, fault_free, kind):
    # attack keeps the lease of production, the others a short one
    lease = "15" if kind is JobKind.ATTACK else "2"
    for member in members[:2]:
        workshop.register(member)
    with locked(workshop, WRITES[kind]):
        worker = workshop.start_worker(SAT_LEASE_SECONDS=lease)
        workshop.wait(lambda: is_waiting(workshop, kind))
        fence = highest_fence(workshop, kind)
        kill(worker)
    killed_at = time.monotonic()
    workshop.start_worker(SAT_LEASE_SECONDS=lease)
    workshop.wait(lambda: is_taken_again(workshop, kind, fence), seconds=WITHIN_SECONDS)
    assert time.monotonic() - killed_at < WITHIN_SECONDS
    workshop.wait(lambda: all_measured(workshop))
    assert workshop.measured() == fault_free


def test_killed_while_analysing(workshop, members):
    for member in members[:2]:
        workshop.register(member)
    worker = workshop.start_worker()
    workshop.wait(lambda: all_measured(workshop))
    with workshop.sessions() as session:
        comparison_id = session.scalars(select(ComparisonRow.id)).one()
        ids = list(session.scalars(select(NetworkRow.id).order_by(NetworkRow.id)))
    wanted = (AnalysisKind.ENSEMBLE, {"members": ids, "candidates": ids, "n": 2})
    with workshop.sessions() as blocker:
        with transaction(workshop.sessions, lambda _: None) as session:
            request_analysis(session, comparison_id, *wanted)
        # the api may go on asking; only the recording of this result is held up
        blocker.execute(text("select * from analyses for update"))
        workshop.wait(lambda: is_waiting(workshop, JobKind.ANALYSE))
        kill(worker)
    workshop.start_worker()

    def analysed():
        with workshop.sessions() as session:
            return find_analysis(session, comparison_id, *wanted).result

    workshop.wait(analysed, seconds=WITHIN_SECONDS)
    assert analysed()["logits"]["ensemble"]["n"] == 24


def test_redis_emptied_and_a_worker_killed_again_and_again(workshop, members, fault_free, empty_redis):
    for member in members[:2]:
        workshop.register(member)
    for delay in (4.0, 5.0):
        worker = workshop.start_worker()
        time.sleep(delay)
        kill(worker)
        with Redis.from_url(empty_redis.replace("redis+socket://", "unix://")) as connection:
            connection.flushall()
    workshop.start_worker()
    workshop.wait(lambda: all_measured(workshop))
    assert workshop.measured() == fault_free
