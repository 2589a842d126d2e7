"""What is going on: jobs and workers, straight from the database."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import ColumnElement, Row, Select, and_, func, select
from sqlalchemy.orm import Session

from registry.errors import NotFoundError
from registry.tables import (
    ComparisonRow,
    ImageSetRow,
    JobKind,
    JobRow,
    JobState,
    ModelRow,
    NameRow,
    NetworkRow,
    ProtocolRow,
    WorkerRow,
    WorkerWish,
)

# Workers say that they live every 2 s.
SILENT_SECONDS = 15.0
# One that was killed is shown, as silent, for so long.
FORGOTTEN_SECONDS = 3600.0
SHOWN_STATES = (JobState.QUEUED, JobState.RUNNING, JobState.FAILED)


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """A job with the names of its subject. network: `@<digest>`; comparison_id names the comparison."""

    row: JobRow
    model: str | None
    network: str | None
    worker: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class JobPage:
    """One page of jobs by id; counts[state][kind] are of all jobs, whatever was filtered."""

    items: tuple[Job, ...]
    total: int
    counts: Mapping[str, Mapping[str, int]]
    more: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Worker:
    """A worker process, whether it was heard of lately, and the job in its hands."""

    row: WorkerRow
    alive: bool
    job: Job | None


def list_jobs(session: Session, *, state: JobState | None, kind: JobKind | None, after: int, limit: int) -> JobPage:
    """Jobs with an id above `after`. Without a state: those that are queued, running or failed."""
    conditions: list[ColumnElement[bool]] = [JobRow.state.in_([state] if state else SHOWN_STATES)]
    if kind:
        conditions.append(JobRow.kind == kind)
    total = session.execute(select(func.count()).select_from(JobRow).where(*conditions)).scalar_one()
    rows = session.execute(_jobs().where(*conditions, JobRow.id > after).order_by(JobRow.id).limit(limit + 1)).all()
    counts: dict[str, dict[str, int]] = {each: {} for each in SHOWN_STATES}
    for job_state, job_kind, count in session.execute(
        select(JobRow.state, JobRow.kind, func.count())
        .where(JobRow.state.in_(SHOWN_STATES))
        .group_by(JobRow.state, JobRow.kind)
        .order_by(JobRow.kind)
    ):
        counts[job_state][job_kind] = count
    return JobPage(items=tuple(_job(row) for row in rows[:limit]), total=total, counts=counts, more=len(rows) > limit)


def list_workers(session: Session, *, everyone: bool, after: int, limit: int) -> tuple[list[Worker], int, bool]:
    """Workers with an id above `after`, how many there are in all, and whether more follow.

    everyone: also those that have left, or were not heard of for an hour.
    """
    here = [] if everyone else [WorkerRow.left_at.is_(None), _heard_within(FORGOTTEN_SECONDS)]
    total = session.execute(select(func.count()).select_from(WorkerRow).where(*here)).scalar_one()
    rows = session.execute(_workers().where(WorkerRow.id > after, *here).order_by(WorkerRow.id).limit(limit + 1)).all()
    running = _running_jobs(session)
    workers = [Worker(row=row, alive=alive, job=running.get(row.id)) for row, alive in rows[:limit]]
    return workers, total, len(rows) > limit


def present_workers(session: Session) -> list[WorkerRow]:
    """The workers that are alive and may claim jobs."""
    alive = and_(WorkerRow.left_at.is_(None), _heard_within(SILENT_SECONDS))
    return list(session.scalars(select(WorkerRow).where(alive, WorkerRow.wish == WorkerWish.RUN)))


def find_worker(session: Session, worker_id: int) -> Worker:
    """One worker; NotFoundError when there is none."""
    found = session.execute(_workers().where(WorkerRow.id == worker_id)).one_or_none()
    if found is None:
        raise NotFoundError(f"there is no worker {worker_id}: GET /workers lists them.")
    row, alive = found
    return Worker(row=row, alive=alive, job=_running_jobs(session).get(worker_id))


def _workers() -> Select[WorkerRow, bool]:
    return select(WorkerRow, is_alive())


def is_alive() -> ColumnElement[bool]:
    """SQL: this worker has not left, and was heard of lately."""
    return and_(WorkerRow.left_at.is_(None), _heard_within(SILENT_SECONDS))


def _heard_within(seconds: float) -> ColumnElement[bool]:
    return WorkerRow.seen_at > func.now() - timedelta(seconds=seconds)


def _running_jobs(session: Session) -> dict[int | None, Job]:
    jobs = (_job(row) for row in session.execute(_jobs().where(JobRow.state == JobState.RUNNING)))
    return {job.row.worker_id: job for job in jobs}


def name_subject(session: Session, job_id: int) -> tuple[str | None, str | None]:
    """The model and the comparison that a job is about, by name; None where it is about none."""
    job = _job(session.execute(_jobs().where(JobRow.id == job_id)).one())
    comparison = session.execute(
        select(func.concat(ImageSetRow.name, "/", ProtocolRow.name))
        .select_from(ComparisonRow)
        .join(ImageSetRow, ImageSetRow.id == ComparisonRow.image_set_id)
        .join(ProtocolRow, ProtocolRow.id == ComparisonRow.protocol_id)
        .where(ComparisonRow.id == job.row.comparison_id)
    ).scalar_one_or_none()
    return job.model, comparison


_JobParts = Row[JobRow, str | None, bytes | None, str | None]


def _jobs() -> Select[JobRow, str | None, bytes | None, str | None]:
    """Jobs with the name of a model of their subject: the first of several that share the network."""
    name = (
        select(func.min(NameRow.name))
        .join(ModelRow, ModelRow.id == NameRow.model_id)
        .where(
            ~NameRow.is_alias,
            (ModelRow.id == JobRow.model_id) | (ModelRow.network_id == JobRow.network_id),
        )
        .correlate(JobRow)
        .scalar_subquery()
    )
    worker = select(func.concat(WorkerRow.host, ":", WorkerRow.pid)).where(WorkerRow.id == JobRow.worker_id)
    return select(JobRow, name, NetworkRow.digest, worker.correlate(JobRow).scalar_subquery()).outerjoin(
        NetworkRow, NetworkRow.id == JobRow.network_id
    )


def _job(row: _JobParts) -> Job:
    job, model, digest, worker = row
    return Job(row=job, model=model, network=f"@{digest.hex()}" if digest else None, worker=worker)
