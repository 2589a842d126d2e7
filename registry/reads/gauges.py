"""What a monitoring system wants to know of the whole registry: a few aggregates, read at most once a second."""

from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import Text, case, cast, func, or_, select
from sqlalchemy.orm import Session

from registry.reads.jobs import is_alive
from registry.tables import (
    ArtifactRow,
    ComparisonRow,
    ComparisonState,
    JobKind,
    JobRow,
    JobState,
    Lane,
    ModelRow,
    ModelState,
    WorkerRow,
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Gauges:
    """Counts by state.

    queue_age_seconds: of the job of a lane that has waited longest since it could be claimed, or was last worked on;
    those of paused comparisons wait for an operator, and do not count.
    devices: bytes in all and in use, by worker (`host:pid`) and device; workers without a GPU are not in it.
    """

    jobs: Mapping[tuple[JobState, JobKind], int]
    queue_age_seconds: Mapping[Lane, float]
    workers: Mapping[str, int]
    leases_lost: int
    devices: Mapping[tuple[str, str], tuple[int, int]]
    models: Mapping[ModelState, int]
    artifact_bytes: Mapping[tuple[str, str], int]


def read_gauges(session: Session) -> Gauges:
    """The aggregates as they are now."""
    jobs = session.execute(select(JobRow.state, JobRow.kind, func.count()).group_by(JobRow.state, JobRow.kind))
    models = session.execute(
        select(ModelRow.state, func.count()).where(ModelRow.deleted_at.is_(None)).group_by(ModelRow.state)
    )
    artifacts = session.execute(
        select(ArtifactRow.kind, ArtifactRow.state, func.sum(ArtifactRow.bytes)).group_by(
            ArtifactRow.kind, ArtifactRow.state
        )
    )
    return Gauges(
        jobs={(state, kind): count for state, kind, count in jobs},
        queue_age_seconds=_queue_ages(session),
        workers=_workers_by_state(session),
        leases_lost=int(session.execute(select(func.coalesce(func.sum(WorkerRow.leases_lost), 0))).scalar_one()),
        devices={
            (f"{host}:{pid}", device): (total or 0, used or 0)
            for host, pid, device, total, used in session.execute(
                select(
                    WorkerRow.host, WorkerRow.pid, WorkerRow.device, WorkerRow.device_bytes, WorkerRow.device_bytes_used
                ).where(is_alive(), WorkerRow.device_bytes.is_not(None))
            )
        },
        models=dict(models.all()),
        artifact_bytes={(kind, state.value): int(size) for kind, state, size in artifacts},
    )


def _queue_ages(session: Session) -> dict[Lane, float]:
    waits_since = func.greatest(JobRow.queued_at, JobRow.not_before, JobRow.started_at)
    age = func.extract("epoch", func.now() - func.min(waits_since))
    rows = session.execute(
        select(JobRow.lane, age)
        .outerjoin(ComparisonRow, ComparisonRow.id == JobRow.comparison_id)
        .where(
            JobRow.state == JobState.QUEUED,
            or_(
                ComparisonRow.id.is_(None),
                ComparisonRow.state == ComparisonState.MEASURING,
                JobRow.kind == JobKind.ANALYSE,
            ),
        )
        .group_by(JobRow.lane)
    )
    return {lane: max(0.0, float(seconds)) for lane, seconds in rows}


def _workers_by_state(session: Session) -> dict[str, int]:
    """Of those that have not left: `silent` ones, else by what is wanted of them."""
    # as text: `silent` is no wish
    state = case((is_alive(), cast(WorkerRow.wish, Text)), else_="silent").label("state")
    rows = session.execute(select(state, func.count()).where(WorkerRow.left_at.is_(None)).group_by("state"))
    return {str(each): count for each, count in rows}
