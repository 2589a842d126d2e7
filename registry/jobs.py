"""Jobs are rows, used again and again: wanted, claimed under a lease and a fence, finished or failed.

A claim is an exclusive right to record results: every recording transaction calls `hold` first, which locks the
job's row and raises LostLeaseError when another claim (or a deletion) has raised the fence since.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, cast

from sqlalchemy import (
    ColumnElement,
    Integer,
    Interval,
    Table,
    bindparam,
    exists,
    func,
    or_,
    select,
    text,
    update,
)
from sqlalchemy.orm import Session
from sqlalchemy.sql.dml import ReturningUpdate

from registry.database import announce
from registry.tables import (
    ComparisonRow,
    ComparisonState,
    JobKind,
    JobRow,
    JobState,
    Lane,
    WorkerRow,
    WorkerWish,
)
from registry.wanting import priority_of
from registry.workers import count_lost_leases

MAX_ERRORS = 3
# A silent worker proves less than an error: it may have been killed for a reason of its own.
MAX_DEATHS = 5
GIVEN_BACK_SECONDS = 10.0
# A job waits out its delay, and its comparison's pause (an analysis only reads, so it does not).
_CLAIMABLE = (
    JobRow.state == JobState.QUEUED,
    or_(JobRow.not_before.is_(None), JobRow.not_before <= func.now()),
    or_(
        ComparisonRow.id.is_(None),
        ComparisonRow.state == ComparisonState.MEASURING,
        JobRow.kind == JobKind.ANALYSE,
    ),
)
# These go with every cell or job: building them anew takes longer than running them.
_FINISH = text(
    "update jobs set state = cast(:state as text), priority = :priority, attempt = 0, errors = 0, failure = null,"
    " at_source = null, at_rung = null, lease_until = null, worker_id = null, progress = null,"
    " queued_at = case cast(:state as text) when 'queued' then now() else queued_at end,"
    " sources = case cast(:state as text) when 'idle' then '{}' else sources end"
    " where id = :id and fence = :fence and state = 'running' returning id"
)
_HOLD = text("select sources from jobs where id = :id and fence = :fence and state = 'running' for update")
_URGENT = select(
    select(JobRow.id)
    .outerjoin(ComparisonRow, ComparisonRow.id == JobRow.comparison_id)
    .where(JobRow.lane == bindparam("lane"), JobRow.priority < bindparam("priority"), *_CLAIMABLE)
    .exists()
)


class LostLeaseError(Exception):
    """Another claim, or a deletion, has fenced this one off: its results may not be recorded."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Claim:
    """The right to work on a job and to record its results, as long as the fence stands."""

    job_id: int
    kind: JobKind
    lane: Lane
    model_id: int | None
    network_id: int | None
    comparison_id: int | None
    priority: int
    attempt: int
    fence: int
    worker_id: int
    sources: Sequence[int] | None = None  # as `hold` returns them, when it was claimed


def claim(session: Session, lanes: tuple[Lane, ...], worker_id: int, lease_seconds: float) -> Claim | None:
    """Take the most urgent queued job of the lanes, or None. Attempts are counted here, before anything can crash.

    A worker that was asked to pause or to drain gets none, whether it has heard of it or not.
    """
    asked = {"lanes": list(lanes), "worker": worker_id, "lease": timedelta(seconds=lease_seconds)}
    row = session.execute(_CLAIM, asked).one_or_none()
    return None if row is None else Claim(**row._asdict(), worker_id=worker_id)


def _claim_statement() -> ReturningUpdate[Any]:
    jobs = cast("Table", JobRow.__table__)  # of the table, not of the class: half the time in Python
    worker = bindparam("worker", type_=Integer)
    may_work = exists().where(WorkerRow.id == worker, WorkerRow.wish == WorkerWish.RUN)
    most_urgent = (
        select(JobRow.id)
        .outerjoin(ComparisonRow, ComparisonRow.id == JobRow.comparison_id)
        .where(JobRow.lane.in_(bindparam("lanes", expanding=True)), *_CLAIMABLE, may_work)
        .order_by(JobRow.priority, JobRow.id)
        .limit(1)
        .with_for_update(of=JobRow, skip_locked=True)
        .scalar_subquery()
    )
    return (
        update(jobs)
        .where(jobs.c.id == most_urgent)
        .values(
            state=JobState.RUNNING,
            fence=jobs.c.fence + 1,
            attempt=jobs.c.attempt + 1,
            taken=jobs.c.wanted,
            lease_until=func.clock_timestamp() + bindparam("lease", type_=Interval),
            worker_id=worker,
            started_at=func.now(),
            progress=None,
            at_source=None,
            at_rung=None,
        )
        .returning(jobs.c.id.label("job_id"), *(jobs.c[name] for name in _CLAIMED))
    )


# what the row says of a claim, beside its own id
_CLAIMED = (
    "kind", "lane", "model_id", "network_id", "comparison_id", "priority", "attempt", "fence", "sources"
)  # fmt: skip
_CLAIM = _claim_statement()


def hold(session: Session, claimed: Claim) -> Sequence[int] | None:
    """Lock the job's row for this transaction; LostLeaseError unless the claim still stands.

    Return the sources that a target's cells can only be pending of; None: of any.
    """
    held = session.execute(_HOLD, {"id": claimed.job_id, "fence": claimed.fence}).one_or_none()
    if held is None:
        raise LostLeaseError(claimed)
    sources: Sequence[int] | None = held.sources
    return sources


def renew(session: Session, claimed: Claim, lease_seconds: float, progress: float | None) -> None:
    """Extend the lease by the database's clock; LostLeaseError unless the claim still stands."""
    renewed = session.execute(
        update(JobRow)
        .where(JobRow.id == claimed.job_id, JobRow.fence == claimed.fence, JobRow.state == JobState.RUNNING)
        .values(lease_until=func.clock_timestamp() + timedelta(seconds=lease_seconds), progress=progress)
        .returning(JobRow.id)
    ).one_or_none()
    if renewed is None:
        raise LostLeaseError(claimed)


def note_progress(session: Session, claimed: Claim) -> None:
    """Count attempts anew, since something was recorded: only what fails again and again at the same place is given up.

    To be called under `hold`.
    """
    if claimed.attempt > 1:
        begin_anew = {"attempt": 1, "errors": 0, "at_source": None, "at_rung": None}
        session.execute(update(JobRow).where(JobRow.id == claimed.job_id).values(begin_anew))


def note_cell(session: Session, claimed: Claim, source_id: int, rung: int) -> None:
    """Say which cell of a transfers job is at hand, so that what ends the process can be told from its neighbours."""
    hold(session, claimed)
    session.execute(update(JobRow).where(JobRow.id == claimed.job_id).values(at_source=source_id, at_rung=rung))


def finish(session: Session, claimed: Claim) -> None:
    """Return the row to rest, or to the queue when more was wanted since it was claimed."""
    hold(session, claimed)
    job = session.get_one(JobRow, claimed.job_id, populate_existing=True)
    _rest(session, job, 0 if job.wanted > job.taken else None)


def finish_with(session: Session, claimed: Claim, left_at_rung: int | None, *, nearness: float | None = None) -> None:
    """Return the row to rest, or to the queue with the priority of the lowest rung that is left.

    `left_at_rung` must have been read after `hold` in this transaction: work that is wanted by a transaction which
    has committed is then in it, and one which has not commits after this and queues the row itself.
    """
    state = JobState.IDLE if left_at_rung is None else JobState.QUEUED
    finished = session.execute(
        _FINISH,
        {
            "id": claimed.job_id,
            "fence": claimed.fence,
            "state": state,
            "priority": priority_of(claimed.kind, left_at_rung or 0, nearness),
        },
    ).one_or_none()
    if finished is None:
        raise LostLeaseError(claimed)
    if state is JobState.QUEUED:
        announce(session, claimed.lane)


def finish_until(session: Session, claimed: Claim, due: datetime | None) -> None:
    """Return the row to rest, or to the queue for the moment when more is due; at once where more was wanted since."""
    hold(session, claimed)
    job = session.get_one(JobRow, claimed.job_id, populate_existing=True)
    again = job.wanted > job.taken
    _rest(session, job, 0 if again or due is not None else None)
    job.not_before = None if again else due


def give_back(session: Session, claimed: Claim, *, reason: str | None = None) -> None:
    """Queue an unfinished job again without counting the attempt: a shutdown, or what the job cannot help.

    With a reason (the artifact store is away, say) it waits some seconds, and GET /jobs shows why.
    """
    hold(session, claimed)
    job = session.get_one(JobRow, claimed.job_id, populate_existing=True)
    job.not_before = _seconds_from_now(session, GIVEN_BACK_SECONDS) if reason else None
    job.attempt = max(0, job.attempt - 1)
    job.failure = reason
    _queue(session, job)


def retry_later(session: Session, claimed: Claim, reason: str) -> bool:
    """Queue a job that failed for another attempt, later each time; False when its attempts are used up."""
    hold(session, claimed)
    job = session.get_one(JobRow, claimed.job_id, populate_existing=True)
    job.errors += 1
    if job.errors >= MAX_ERRORS:
        return False
    _queue_after_failure(session, job, reason)
    return True


def fail(session: Session, claimed: Claim, reason: str) -> None:
    """Leave the row failed, with the reason; only new work or a retry queues it again."""
    hold(session, claimed)
    _mark_failed(session.get_one(JobRow, claimed.job_id, populate_existing=True), reason)


def pass_over(session: Session, job: JobRow) -> None:
    """Queue a job again, its attempts counted anew, since what failed it has been put aside."""
    job.attempt = job.errors = 0
    job.failure = job.not_before = job.at_source = job.at_rung = None
    _queue(session, job)


def take_expired(session: Session, lease_seconds: float) -> list[JobRow]:
    """Queue again what a silent worker held; return the rows whose attempts are used up, now failed.

    Nobody could renew a lease while the database was down: after its start, workers have one lease's time to be heard.
    """
    up_for_a_lease = func.pg_postmaster_start_time() < func.now() - timedelta(seconds=lease_seconds)
    expired = session.scalars(
        select(JobRow)
        .where(JobRow.state == JobState.RUNNING, JobRow.lease_until < func.now(), up_for_a_lease)
        .order_by(JobRow.id)
        .with_for_update(skip_locked=True)
    ).all()
    silent = [job.worker_id for job in expired if job.worker_id is not None]
    given_up = []
    for job in expired:
        deaths = job.attempt - job.errors
        if deaths >= MAX_DEATHS:
            _mark_failed(job, f"the worker died {deaths} times during this work ({job.kind})")
            given_up.append(job)
        else:
            _queue_after_failure(session, job, "its worker fell silent")
    session.flush()
    count_lost_leases(session, silent)
    return given_up


def lanes_with_work(session: Session) -> list[Lane]:
    """The lanes in which a job could be claimed now."""
    return list(
        session.scalars(
            select(JobRow.lane)
            .outerjoin(ComparisonRow, ComparisonRow.id == JobRow.comparison_id)
            .where(*_CLAIMABLE)
            .distinct()
        )
    )


def more_urgent_waits(session: Session, claimed: Claim, priority: int | None = None) -> bool:
    """Whether the claim's lane holds a queued job that should go first.

    priority: of what the claim would do next; None: that of the claim.
    """
    compared = claimed.priority if priority is None else priority
    waits: bool = session.execute(_URGENT, {"lane": claimed.lane, "priority": compared}).scalar_one()
    return waits


def lock_jobs(session: Session, which: ColumnElement[bool]) -> Sequence[int]:
    """Lock jobs in the order in which everything locks several, by id, and return their ids."""
    return session.scalars(select(JobRow.id).where(which).order_by(JobRow.id).with_for_update()).all()


def fence_off(session: Session, *, model_id: int | None = None, network_id: int | None = None) -> None:
    """Put a subject's jobs to rest and raise their fences, so that nothing more is recorded for it."""
    subject = JobRow.model_id == model_id if model_id is not None else JobRow.network_id == network_id
    ids = lock_jobs(session, subject)
    session.execute(
        update(JobRow)
        .where(JobRow.id.in_(ids))
        .values(
            state=JobState.IDLE,
            fence=JobRow.fence + 1,
            lease_until=None,
            worker_id=None,
            failure=None,
            taken=JobRow.wanted,
            sources=None,
            at_source=None,
            at_rung=None,
        )
    )


def _release(job: JobRow) -> None:
    job.lease_until = None
    job.worker_id = None
    job.progress = None


def _rest(session: Session, job: JobRow, left_at_rung: int | None) -> None:
    job.priority = priority_of(job.kind, left_at_rung or 0)
    job.attempt = job.errors = 0
    job.failure = job.at_source = job.at_rung = None
    if left_at_rung is not None:
        _queue(session, job)
        return
    job.state = JobState.IDLE
    _release(job)


def _queue_after_failure(session: Session, job: JobRow, reason: str) -> None:
    # the first repetition is immediate: most deaths are restarts
    job.not_before = _seconds_from_now(session, 0 if job.attempt <= 1 else 2**job.attempt)
    job.failure = reason
    _queue(session, job)


def _queue(session: Session, job: JobRow) -> None:
    with session.no_autoflush:  # state, lease and failure go together
        job.queued_at = _seconds_from_now(session, 0)
    job.state = JobState.QUEUED
    _release(job)
    announce(session, job.lane)


def _seconds_from_now(session: Session, seconds: float) -> datetime:
    now: datetime = session.execute(select(func.now())).scalar_one()
    return now + timedelta(seconds=seconds)


def _mark_failed(job: JobRow, reason: str) -> None:
    job.state = JobState.FAILED
    job.failure = reason
    _release(job)
