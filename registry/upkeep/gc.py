"""Garbage collection: rows past their retention, then the bytes that nothing refers to. Safe beside running work.

An artifact that has been unreferenced for an hour is condemned; whoever puts the same bytes takes it back. Then, with
its row locked so that nobody can begin to refer to it, its bytes are deleted, and last the row: an interrupted pass
leaves a condemned row, which the next one finishes. Everything goes in short transactions.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, and_, delete, exists, func, literal, or_, select, update
from sqlalchemy.orm import Session

from registry.database import Sessions
from registry.intervals import seconds
from registry.settings import Settings
from registry.storage.artifacts import ArtifactStore
from registry.storage.eviction import adversarial_bytes, delete_condemned, evict
from registry.storage.references import is_referenced
from registry.tables import (
    AnalysisRow,
    ArtifactRow,
    ArtifactState,
    AttackRow,
    Base,
    DeliveryRow,
    DeliveryState,
    EvaluationRow,
    IdempotencyRow,
    JobRow,
    TransferRow,
    UploadRow,
    WorkerRow,
)
from registry.upkeep.removal import models_due, networks_due, remove_model, remove_network

DAY_SECONDS = 86_400.0
LEAST_UNREFERENCED_SECONDS = 60.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Retention:
    """How long things are kept, in seconds.

    unreferenced: bytes that nothing refers to. unfinished: writes, uploads and spooled files that stopped.
    deleted: models that can be restored. history: gone workers, settled deliveries, analyses nobody asks for.
    """

    unreferenced: float = 3600.0
    unfinished: float = DAY_SECONDS
    deleted: float = 7 * DAY_SECONDS
    history: float = 30 * DAY_SECONDS


NOTHING_KEPT = Retention(unreferenced=0, unfinished=0, deleted=0, history=0)
"""For tests, and for a registry that nobody else uses: whatever can go, goes."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Swept:
    """What one pass removed, or (dry run) would remove.

    later_artifacts, later_bytes: unreferenced too, but not for long enough yet. evicted_bytes: adversarial images
    beyond their quota. spool: unfinished files.
    """

    dry_run: bool
    models: int = 0
    networks: int = 0
    artifacts: int = 0
    bytes: int = 0
    later_artifacts: int = 0
    later_bytes: int = 0
    evicted_bytes: int = 0
    workers: int = 0
    analyses: int = 0
    idempotency_keys: int = 0
    deliveries: int = 0
    uploads: int = 0
    spool: int = 0


def retention_of(settings: Settings) -> Retention:
    """The retention that the operator set."""
    return Retention(
        # between the storing of bytes and the row that refers to them lies a moment
        unreferenced=max(settings.gc_unreferenced_seconds, LEAST_UNREFERENCED_SECONDS),
        deleted=settings.gc_deleted_seconds,
        history=settings.gc_history_seconds,
    )


def preview(sessions: Sessions, store: ArtifactStore, retention: Retention) -> Swept:
    """What `sweep` would do now; nothing is changed."""
    with sessions() as session:
        models = models_due(session, retention.deleted)
        networks = networks_due(session, models, retention.unreferenced)
        now = _count(session, _is_garbage(retention))
        later = _count(session, and_(~is_referenced(models, networks), ~_is_garbage(retention)))
        history = {
            name: session.execute(select(func.count()).select_from(table).where(old)).scalar_one()
            for name, (table, old) in _history(retention).items()
        }
        beyond = _beyond_quota(session, store)
    return Swept(
        dry_run=True,
        models=len(models),
        networks=len(networks),
        artifacts=now[0],
        bytes=now[1],
        later_artifacts=later[0],
        later_bytes=later[1],
        evicted_bytes=beyond,
        spool=len(store.unfinished(retention.unfinished)),
        **history,
    )


def sweep(
    sessions: Sessions, store: ArtifactStore, retention: Retention, *, stopping: Callable[[], bool] = lambda: False
) -> Swept:
    """Remove what is past its retention; `stopping` is asked between steps, and what is left waits for the next pass.

    UnavailableError when the artifact store does not answer; what was done until then stays done.
    """
    models, networks = _sweep_models(sessions, retention, stopping)
    history = _sweep_history(sessions, retention)
    with sessions() as session:
        beyond = _beyond_quota(session, store)
    evicted = evict(sessions, store.remove, beyond) if beyond else 0
    artifacts, n_bytes = _sweep_artifacts(sessions, store, retention, stopping)
    with sessions() as session:
        later = _count(session, ~is_referenced())
    return Swept(
        dry_run=False,
        models=models,
        networks=networks,
        artifacts=artifacts,
        bytes=n_bytes,
        later_artifacts=later[0],
        later_bytes=later[1],
        evicted_bytes=evicted,
        spool=store.sweep_spool(retention.unfinished),
        **history,
    )


def _sweep_models(sessions: Sessions, retention: Retention, stopping: Callable[[], bool]) -> tuple[int, int]:
    """How many models and networks went."""
    with sessions() as session:
        models = models_due(session, retention.deleted)
    removed = [remove_model(sessions, each, retention.deleted) for each in models if not stopping()]
    with sessions() as session:
        unnamed = networks_due(session, (), retention.unreferenced)
    removed += [remove_network(sessions, each) for each in unnamed if not stopping()]
    return sum(each.model for each in removed), sum(each.network for each in removed)


def _sweep_history(sessions: Sessions, retention: Retention) -> dict[str, int]:
    removed = {}
    for name, (table, old) in _history(retention).items():
        with sessions.begin() as session:
            removed[name] = len(session.execute(delete(table).where(old).returning(literal(1))).all())
    return removed


def _sweep_artifacts(
    sessions: Sessions, store: ArtifactStore, retention: Retention, stopping: Callable[[], bool]
) -> tuple[int, int]:
    """Condemn what nothing refers to, then delete what is condemned; how many artifacts and bytes went."""
    with sessions.begin() as session:
        session.execute(
            update(ArtifactRow)
            .where(_is_garbage(retention), ArtifactRow.state != ArtifactState.CONDEMNED)
            .values(state=ArtifactState.CONDEMNED, touched_at=func.now())
        )
    with sessions() as session:
        condemned = session.execute(
            select(ArtifactRow.sha256, ArtifactRow.bytes).where(ArtifactRow.state == ArtifactState.CONDEMNED)
        ).all()
    deleted = [
        n_bytes for sha256, n_bytes in condemned if not stopping() and delete_condemned(sessions, store.remove, sha256)
    ]
    return len(deleted), sum(deleted)


def _is_garbage(retention: Retention) -> ColumnElement[bool]:
    """SQL: nothing refers to the artifact, and it was condemned, or put or let go long enough ago."""
    kept = {ArtifactState.STORED: retention.unreferenced, ArtifactState.WRITING: retention.unfinished}
    old = [
        and_(ArtifactRow.state == state, ArtifactRow.touched_at < func.now() - seconds(age))
        for state, age in kept.items()
    ]
    return and_(~is_referenced(), or_(ArtifactRow.state == ArtifactState.CONDEMNED, *old))


def _count(session: Session, which: ColumnElement[bool]) -> tuple[int, int]:
    """How many artifacts, and how many bytes."""
    found = session.execute(select(func.count(), func.coalesce(func.sum(ArtifactRow.bytes), 0)).where(which)).one()
    return int(found[0]), int(found[1])


def _beyond_quota(session: Session, store: ArtifactStore) -> int:
    """The bytes of adversarial images beyond what they may take."""
    limit = store.limits.adversarial
    return 0 if limit is None else max(0, adversarial_bytes(session) - limit)


def _history(retention: Retention) -> dict[str, tuple[type[Base], ColumnElement[bool]]]:
    """What is removed for its age alone: the table, and SQL that says which rows."""
    long_ago = func.now() - seconds(retention.history)
    unfinished = func.now() - seconds(retention.unfinished)
    makers: tuple[Any, ...] = (EvaluationRow, AttackRow, TransferRow, JobRow)
    made_nothing = ~or_(*(exists().where(made.worker_id == WorkerRow.id) for made in makers))
    return {
        "workers": (
            WorkerRow,
            and_(
                func.coalesce(WorkerRow.left_at, WorkerRow.seen_at) < long_ago,
                made_nothing,
                WorkerRow.leases_lost == 0,  # a metric is their sum, and must never fall
            ),
        ),
        "analyses": (AnalysisRow, AnalysisRow.requested_at < long_ago),
        "idempotency_keys": (IdempotencyRow, IdempotencyRow.created_at < unfinished),
        "deliveries": (
            DeliveryRow,
            and_(DeliveryRow.state != DeliveryState.WAITING, DeliveryRow.created_at < long_ago),
        ),
        "uploads": (UploadRow, UploadRow.touched_at < unfinished),
    }
