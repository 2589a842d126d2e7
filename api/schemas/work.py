"""Jobs and workers as the API shows them."""

from collections.abc import Mapping
from datetime import datetime
from typing import Self

from pydantic import Field

from api.schemas.base import Answer, Page
from registry.reads.jobs import Job as JobRead
from registry.reads.jobs import Worker as WorkerRead
from registry.tables import JobKind, JobState, Lane, WorkerWish


class Job(Answer):
    """A piece of work."""

    id: int
    kind: JobKind
    lane: Lane
    state: JobState
    model: str | None
    network: str | None = Field(description="`@<digest>`, usable wherever a model is named.")
    comparison: str | None
    priority: int = Field(description="The smallest first.")
    attempt: int
    progress: float | None
    wanted: int
    worker: str | None
    queued_at: datetime
    started_at: datetime | None
    lease_until: datetime | None
    failure: str | None = Field(description="Why it ended; of a queued job, why it waits to be tried again.")

    @classmethod
    def of(cls, read: JobRead, comparisons: Mapping[int, str]) -> Self:
        """The job as it is shown."""
        row = read.row
        return cls(
            id=row.id,
            kind=row.kind,
            lane=row.lane,
            state=row.state,
            model=read.model,
            network=read.network,
            comparison=comparisons.get(row.comparison_id) if row.comparison_id else None,
            priority=row.priority,
            attempt=row.attempt,
            progress=row.progress,
            wanted=row.wanted,
            worker=read.worker,
            queued_at=row.queued_at,
            started_at=row.started_at,
            lease_until=row.lease_until,
            failure=row.failure,
        )


class JobPage(Page[Job]):
    """One page of jobs; the counts are of all jobs."""

    counts: dict[str, dict[str, int]] = Field(description="By state, then kind.")
    estimate_seconds: float | None = Field(description="Until nothing is left, at the pace of the last minutes.")


class WorkerJob(Answer):
    """The job in a worker's hands."""

    id: int
    kind: JobKind
    model: str | None


class Worker(Answer):
    """A worker process."""

    id: int
    host: str
    pid: int
    lanes: list[str]
    device: str
    code_version: str
    torch_version: str
    started_at: datetime
    seen_at: datetime
    left_at: datetime | None
    alive: bool
    wish: WorkerWish = Field(
        description="What an operator wants: run, pause after a result, or drain: end after a job."
    )
    precision: str | None
    device_bytes: int | None = Field(description="Memory of the device; null on a CPU.")
    device_bytes_used: int | None
    leases_lost: int = Field(description="Jobs that others took over because it was silent for too long.")
    job: WorkerJob | None

    @classmethod
    def of(cls, read: WorkerRead) -> Self:
        """The worker as it is shown."""
        row = read.row
        job = read.job and WorkerJob(id=read.job.row.id, kind=read.job.row.kind, model=read.job.model)
        return cls(
            id=row.id,
            host=row.host,
            pid=row.pid,
            lanes=row.lanes.split(","),
            device=row.device,
            code_version=row.code_version,
            torch_version=row.torch_version,
            started_at=row.started_at,
            seen_at=row.seen_at,
            left_at=row.left_at,
            alive=read.alive,
            wish=row.wish,
            precision=row.precision,
            device_bytes=row.device_bytes,
            device_bytes_used=row.device_bytes_used,
            leases_lost=row.leases_lost,
            job=job,
        )


class WorkerPage(Page[Worker]):
    """One page of workers."""
