"""Pause, resume and drain, with real workers that are held at a cell: nothing starts, and nothing is lost."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import func, select, text

from registry.comparisons import change_comparison
from registry.declarations import ComparisonChange
from registry.tables import ComparisonState, JobKind, JobRow, JobState, TransferRow, WorkerRow, WorkerWish
from registry.workers import ask_worker

QUIET_SECONDS = 3.0  # in which a worker that still worked would record many cells
EACH_BY_ITSELF = {"SAT_RECORD_SECONDS": "0"}


@contextmanager
def held_at_first_cell(workshop) -> Iterator[None]:
    """Three evaluated members whose first cell cannot be recorded while the block runs."""
    with workshop.sessions() as session:
        session.execute(text("lock table pairs in share mode"))
        yield


def transfers(workshop) -> int:
    """How many cells are recorded."""
    with workshop.sessions() as session:
        return session.scalars(select(func.count()).select_from(TransferRow)).one()


def running(workshop) -> list[JobRow]:
    """The jobs in workers' hands."""
    with workshop.sessions() as session:
        return list(session.scalars(select(JobRow).where(JobRow.state == JobState.RUNNING)))


def waits_for_pairs(workshop) -> bool:
    """Whether a worker stands before the lock."""
    with workshop.sessions() as session:
        waiting = text("select count(*) from pg_locks where not granted and relation = 'pairs'::regclass")
        return bool(session.scalars(waiting).one())


def set_comparison(workshop, state: ComparisonState) -> None:
    """PATCH /comparisons/digits/quick."""
    with workshop.sessions.begin() as session:
        change_comparison(session, "digits", "quick", ComparisonChange(state=state))


def set_worker(workshop, worker_id: int, wish: WorkerWish) -> None:
    """PATCH /workers/<id>."""
    with workshop.sessions.begin() as session:
        ask_worker(session, worker_id, wish)


def wait_until_heard(workshop) -> None:
    """Wait until the newest worker has asked for its orders since: at its second report from now."""
    for _ in range(2):
        before = worker_rows(workshop)[-1].seen_at
        workshop.wait(lambda before=before: worker_rows(workshop)[-1].seen_at > before)


def worker_rows(workshop) -> list[WorkerRow]:
    """All workers, in order of their start."""
    with workshop.sessions() as session:
        return list(session.scalars(select(WorkerRow).order_by(WorkerRow.id)))


def test_a_paused_comparison_stops_after_the_cell_at_hand_and_goes_on_where_it_was(workshop, members):
    for member in members:
        workshop.register(member)
    with held_at_first_cell(workshop):
        workshop.start_worker(**EACH_BY_ITSELF)
        workshop.wait(lambda: waits_for_pairs(workshop))
        set_comparison(workshop, ComparisonState.PAUSED)
        wait_until_heard(workshop)
    workshop.wait(lambda: not running(workshop))
    assert transfers(workshop) == 1  # the one at hand is recorded
    with workshop.sessions() as session:
        job = session.scalars(select(JobRow).where(JobRow.kind == JobKind.TRANSFERS, JobRow.attempt > 0)).all()
    assert job == []  # given back without counting an attempt
    time.sleep(QUIET_SECONDS)
    assert transfers(workshop) == 1
    set_comparison(workshop, ComparisonState.MEASURING)
    workshop.wait(lambda: workshop.idle() and transfers(workshop) == 12)


def test_a_drained_worker_ends_after_its_job_and_a_paused_one_holds_still(workshop, members):
    for member in members:
        workshop.register(member)
    with held_at_first_cell(workshop):
        drained = workshop.start_worker(**EACH_BY_ITSELF)
        workshop.wait(lambda: waits_for_pairs(workshop))
        (row,) = worker_rows(workshop)
        (job,) = running(workshop)
        set_worker(workshop, row.id, WorkerWish.DRAIN)
        wait_until_heard(workshop)
        assert drained.poll() is None  # its job is not done
    assert drained.wait(timeout=60) == 0
    assert transfers(workshop) == 2, workshop.logs()  # the job's two sources on rung 0, and no other job
    assert worker_rows(workshop)[0].left_at is not None
    with workshop.sessions() as session:
        assert session.get_one(JobRow, job.id).worker_id is None

    with held_at_first_cell(workshop):
        workshop.start_worker(**EACH_BY_ITSELF)
        workshop.wait(lambda: waits_for_pairs(workshop))
        second = worker_rows(workshop)[1]
        set_worker(workshop, second.id, WorkerWish.PAUSE)
        wait_until_heard(workshop)
    workshop.wait(lambda: not running(workshop))
    assert transfers(workshop) == 3
    set_worker(workshop, second.id, WorkerWish.RUN)
    workshop.wait(lambda: workshop.idle() and transfers(workshop) == 12)
