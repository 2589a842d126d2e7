"""Work and what it needs: jobs, workers, artifacts, and the analyses that light jobs keep fresh."""

from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import ARRAY, CheckConstraint, ForeignKey, Index, Integer, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from registry.tables.base import Base, Big, BigKey, Key, Now, Small, closed_set


class JobKind(StrEnum):
    """What a job does; the subject is a model, a network on a comparison, a comparison, or (notify) nothing."""

    PREPARE = "prepare"
    EVALUATE = "evaluate"
    ATTACK = "attack"
    TRANSFERS = "transfers"
    ANALYSE = "analyse"
    NOTIFY = "notify"


class Lane(StrEnum):
    """Which workers take a job: `compute` needs the device, `light` does not."""

    COMPUTE = "compute"
    LIGHT = "light"


class JobState(StrEnum):
    """idle: nothing to do (the row is kept and used again)."""

    IDLE = "idle"
    QUEUED = "queued"
    RUNNING = "running"
    FAILED = "failed"


class ArtifactState(StrEnum):
    """The row is written before the bytes, and is `stored` once they are there."""

    WRITING = "writing"
    STORED = "stored"
    CONDEMNED = "condemned"


class AnalysisKind(StrEnum):
    """What light jobs compute once per version of a comparison."""

    CLUSTERS = "clusters"
    ENSEMBLE = "ensemble"
    MAP = "map"
    IMPORTANCE = "importance"


class ArtifactRow(Base):
    """Bytes in the artifact store, under their sha256."""

    __tablename__ = "artifacts"
    sha256: Mapped[bytes] = mapped_column(primary_key=True)
    kind: Mapped[str]  # checkpoint, weights, image-set, logits, adversarial
    bytes: Mapped[Big]
    state: Mapped[ArtifactState] = mapped_column(closed_set(ArtifactState, "state"))
    touched_at: Mapped[Now]
    __table_args__ = (
        CheckConstraint("octet_length(sha256) = 32", name="sha256"),
        CheckConstraint("bytes >= 0", name="bytes"),
    )


class WorkerWish(StrEnum):
    """What an operator wants of a worker: pause stops after the cell at hand, drain ends the process after its job."""

    RUN = "run"
    PAUSE = "pause"
    DRAIN = "drain"


class WorkerRow(Base):
    """One worker process: who made a result, and who is alive."""

    __tablename__ = "workers"
    id: Mapped[Key]
    host: Mapped[str]
    pid: Mapped[int]
    lanes: Mapped[str]
    device: Mapped[str]
    code_version: Mapped[str]
    torch_version: Mapped[str]
    precision: Mapped[str | None]
    wish: Mapped[WorkerWish] = mapped_column(closed_set(WorkerWish, "wish"), server_default="run")
    device_bytes: Mapped[Big | None]  # memory of the device; null on a CPU
    device_bytes_used: Mapped[Big | None]
    started_at: Mapped[Now]
    seen_at: Mapped[Now]
    left_at: Mapped[datetime | None]  # it said goodbye
    leases_lost: Mapped[int] = mapped_column(server_default="0")  # jobs that others took over from it


class JobRow(Base):
    """One reusable row per (kind, model, network, comparison).

    New work raises `wanted`; a claim copies it to `taken`; finishing with wanted > taken queues the row again, so
    no wake-up is lost. `fence` is raised by every claim: a result is recorded only under the claim it was made in.
    `attempt` counts claims that recorded nothing, `errors` those of them that raised; the others died.
    Of a transfers job, `sources` is who asked since the target had no pending cell (null: all must be looked at), and
    `at_source`, `at_rung` the cell at hand, which is noted once an attempt has failed.
    """

    __tablename__ = "jobs"
    id: Mapped[BigKey]
    kind: Mapped[JobKind] = mapped_column(closed_set(JobKind, "kind"))
    lane: Mapped[Lane] = mapped_column(closed_set(Lane, "lane"))
    model_id: Mapped[int | None] = mapped_column(ForeignKey("models.id"))
    network_id: Mapped[int | None] = mapped_column(ForeignKey("networks.id"))
    comparison_id: Mapped[int | None] = mapped_column(ForeignKey("comparisons.id"))
    sources: Mapped[list[int] | None] = mapped_column(ARRAY(Integer))
    at_source: Mapped[int | None]
    at_rung: Mapped[Small | None]
    priority: Mapped[Small]  # the smallest first
    state: Mapped[JobState] = mapped_column(closed_set(JobState, "state"))
    wanted: Mapped[int] = mapped_column(server_default="1")
    taken: Mapped[int] = mapped_column(server_default="0")
    attempt: Mapped[Small] = mapped_column(server_default="0")
    errors: Mapped[Small] = mapped_column(server_default="0")
    fence: Mapped[Big] = mapped_column(server_default="0")
    lease_until: Mapped[datetime | None]
    worker_id: Mapped[int | None] = mapped_column(ForeignKey("workers.id"))
    not_before: Mapped[datetime | None]
    progress: Mapped[float | None]
    failure: Mapped[str | None]  # of a queued row: why it waits to be tried again
    queued_at: Mapped[Now]
    started_at: Mapped[datetime | None]
    __table_args__ = (
        UniqueConstraint(
            "kind",
            "model_id",
            "network_id",
            "comparison_id",
            postgresql_nulls_not_distinct=True,
            name="uq_jobs_subject",
        ),
        CheckConstraint("(state = 'running') = (lease_until is not null)", name="lease"),
        CheckConstraint("state <> 'failed' or failure is not null", name="failure"),
        CheckConstraint("(kind = 'prepare') = (model_id is not null)", name="model"),
        CheckConstraint(
            "(kind in ('evaluate', 'attack', 'transfers')) = (network_id is not null)",
            name="network",
        ),
        CheckConstraint("(kind not in ('prepare', 'notify')) = (comparison_id is not null)", name="comparison"),
        Index("ix_jobs_next", "lane", "priority", "id", postgresql_where=text("state = 'queued'")),
        Index("ix_jobs_leased", "lease_until", postgresql_where=text("state = 'running'")),
    )


class AnalysisRow(Base):
    """The last result of an analysis, with the version of the comparison it was made from."""

    __tablename__ = "analyses"
    comparison_id: Mapped[int] = mapped_column(ForeignKey("comparisons.id"), primary_key=True)
    kind: Mapped[AnalysisKind] = mapped_column(closed_set(AnalysisKind, "kind"), primary_key=True)
    parameters_sha256: Mapped[bytes] = mapped_column(primary_key=True)
    parameters: Mapped[dict[str, Any]]
    wanted_version: Mapped[Big]
    version: Mapped[Big | None]
    result: Mapped[dict[str, Any] | None]
    failure: Mapped[str | None]
    requested_at: Mapped[Now]
    __table_args__ = (CheckConstraint("(version is null) = (result is null and failure is null)", name="version"),)
