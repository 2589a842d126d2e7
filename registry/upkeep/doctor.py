"""What is inconsistent in a registry, each with a sentence that says what to do. Only reads.

`examine` asks the database, the broker and the store's listing, and takes seconds; verification.py beside it reads all
bytes.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from registry.database import Sessions, database_revision, migration_head
from registry.errors import UnavailableError
from registry.intervals import seconds
from registry.storage.artifacts import ArtifactStore
from registry.storage.disk import free_bytes
from registry.storage.eviction import KIND
from registry.storage.quota import stored_bytes
from registry.tables import (
    ArtifactRow,
    ComparisonRow,
    JobKind,
    JobRow,
    JobState,
    ModelRow,
    PairRow,
    WorkerRow,
)
from registry.upkeep.missing import find_missing
from registry.upkeep.orphans import OrphanKind, find_lone_results, find_lost_bytes

# A lease that ran out so long ago would have been taken over by any living worker.
UNTAKEN_SECONDS = 60.0
ALIVE_SECONDS = 30.0
# Bytes that are younger may be on their way to their row.
SETTLED_SECONDS = 3600.0
NEARLY_FULL = 0.95
SHOWN = 5
_RESULTS = {JobKind.EVALUATE: "evaluations", JobKind.ATTACK: "attacks", JobKind.TRANSFERS: "transfers"}
MEASURE_AGAIN = "`sat resume` on the comparison asks for everything that is missing again."


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong. check: which check found it; what: what it is; do: what to do."""

    check: str
    what: str
    do: str


def examine(sessions: Sessions, store: ArtifactStore, *, broker_answers: Callable[[], bool]) -> list[Finding]:
    """Everything that the quick checks find; nothing when the registry is consistent.

    Raises SQLAlchemy's OperationalError when the database does not answer.
    """
    with sessions() as session:
        if found := list(_check_migrations(session)):
            return found  # the other checks need the tables that this code knows
        found = [each for check in _CHECKS for each in check(session)]
        found += _check_store(session, store)
    if not broker_answers():
        found.append(
            Finding(
                "broker",
                "Redis does not answer: workers hear of new work only after some seconds.",
                "Start it, or check REDIS_URL; nothing is lost meanwhile.",
            )
        )
    return found


def _check_migrations(session: Session) -> Iterator[Finding]:
    present, expected = database_revision(session), migration_head()
    if present != expected:
        yield Finding(
            "migrations",
            f"The database is at migration {present}, this code knows {expected}.",
            "Run `python -m registry migrate` with the newer of the two releases, and use that release everywhere.",
        )


def _check_leases(session: Session) -> Iterator[Finding]:
    expired = session.scalars(
        select(JobRow.id)
        .where(JobRow.state == JobState.RUNNING, JobRow.lease_until < func.now() - seconds(UNTAKEN_SECONDS))
        .order_by(JobRow.id)
    ).all()
    if expired:
        yield Finding(
            "leases",
            f"{_jobs(expired)} ran out of lease over a minute ago, and no worker has taken over.",
            "Start a worker: any one queues such jobs again.",
        )


def _check_workers(session: Session) -> Iterator[Finding]:
    alive = set(
        session.scalars(
            select(WorkerRow.lanes).where(
                WorkerRow.left_at.is_(None), WorkerRow.seen_at > func.now() - seconds(ALIVE_SECONDS)
            )
        )
    )
    for lane, number in session.execute(
        select(JobRow.lane, func.count()).where(JobRow.state == JobState.QUEUED).group_by(JobRow.lane)
    ):
        if not any(lane in lanes.split(",") for lanes in alive):
            yield Finding(
                "workers",
                f"{number} {lane} jobs are queued, and no worker that takes them is alive.",
                f"Start one: `sat serve`, or `python -m worker` with SAT_LANES={lane}.",
            )


def _check_subjects(session: Session) -> Iterator[Finding]:
    """Jobs at work for a model that was deleted, or a network that no model names any more."""
    busy = JobRow.state.in_((JobState.QUEUED, JobState.RUNNING))
    without_model = (
        select(JobRow.id).join(ModelRow, ModelRow.id == JobRow.model_id).where(busy, ModelRow.deleted_at.is_not(None))
    )
    without_network = select(JobRow.id).where(
        busy,
        JobRow.network_id.is_not(None),
        ~select(ModelRow.id)
        .where(ModelRow.network_id == JobRow.network_id, ModelRow.deleted_at.is_(None))
        .correlate(JobRow)
        .exists(),
    )
    lone = sorted({*session.scalars(without_model), *session.scalars(without_network)})
    if lone:
        yield Finding(
            "subjects",
            f"{_jobs(lone)} work for models that were deleted.",
            "They end by themselves, without a result; `sat gc` removes them with the models. If they stay, restart "
            "the workers.",
        )


def _check_results(session: Session) -> Iterator[Finding]:
    found = find_lone_results(session)
    for kind, what, do in (
        (
            OrphanKind.CELL_WITHOUT_EVALUATION,
            "cells have no evaluation of their target",
            "Restore the database from a backup: results were deleted by hand, or lost.",
        ),
        (OrphanKind.PAIR_WITHOUT_CELLS, "pairs have no cell that they could be counted from", MEASURE_AGAIN),
    ):
        lone = [each.what for each in found if each.kind is kind]
        if lone:
            yield Finding("results", f"{len(lone)} {what}: {_some(lone)}.", do)


def _check_versions(session: Session) -> Iterator[Finding]:
    """A pair with a newer version than its comparison's is in no answer until that version is reached."""
    newest = select(func.max(PairRow.version)).where(PairRow.comparison_id == ComparisonRow.id).scalar_subquery()
    for comparison_id, version, stamped in session.execute(
        select(ComparisonRow.id, ComparisonRow.version, newest).where(newest > ComparisonRow.version)
    ):
        yield Finding(
            "versions",
            f"Comparison {comparison_id} is at version {version}, and has a pair of version {stamped}: answers may "
            "miss it.",
            f"Set `version` of that row of `comparisons` to {stamped + 1} by SQL.",
        )


def _check_forgotten(session: Session) -> Iterator[Finding]:
    """Work that is missing and that no job is going to do."""
    for missing in find_missing(session):
        yield Finding(
            "forgotten",
            f"In comparison {missing.comparison_id}, {_RESULTS[missing.kind]} of networks {_some(missing.networks)} "
            "are missing and no job is queued for them.",
            f"Nothing, while a worker is alive: it asks for them when nothing else is going on. {MEASURE_AGAIN}",
        )


def _check_store(session: Session, store: ArtifactStore) -> Iterator[Finding]:
    try:
        lost = find_lost_bytes(session, store, older_than_seconds=SETTLED_SECONDS)
    except UnavailableError as error:
        yield Finding("store", error.detail, "Check SAT_ARTIFACTS, its credentials and its network.")
        return
    images = _adversarial_keys(session)
    missing = [each.what for each in lost if each.kind is OrphanKind.MISSING_BYTES]
    if evictable := [key for key in missing if key in images]:
        yield Finding(
            "store",
            f"{len(evictable)} sets of adversarial images are missing or cut short: {_some(evictable)}.",
            "Nothing: they are made again when a transfer needs them.",
        )
    if needed := [key for key in missing if key not in images]:
        yield Finding(
            "store",
            f"{len(needed)} artifacts are missing or cut short: {_some(needed)}.",
            "Copy them back from a backup. Without one, delete and register again the models that they belong to.",
        )
    if unknown := [each.what for each in lost if each.kind is OrphanKind.UNKNOWN_BYTES]:
        yield Finding(
            "store",
            f"{len(unknown)} objects of the store are in no row: {_some(unknown)}.",
            "Delete them, if no other registry shares the folder or bucket: an older database was restored, perhaps.",
        )
    yield from _check_room(session, store)


def _check_room(session: Session, store: ArtifactStore) -> Iterator[Finding]:
    limits = store.limits
    used = stored_bytes(session)
    if limits.quota is not None and used > NEARLY_FULL * limits.quota:
        yield Finding(
            "room",
            f"The artifact store holds {used:,} of {limits.quota:,} bytes.",
            "Raise SAT_ARTIFACTS_QUOTA_BYTES, or delete models and run `sat gc`.",
        )
    free = free_bytes(store.spool)
    if free < limits.min_free:
        yield Finding(
            "room",
            f"The disk of the store or its cache has {free:,} bytes left; below {limits.min_free:,} nothing is taken.",
            "Make room with `sat gc`, or use a larger disk.",
        )


def _adversarial_keys(session: Session) -> set[str]:
    return {
        f"{sha256.hex()[:2]}/{sha256.hex()}"
        for sha256 in session.scalars(select(ArtifactRow.sha256).where(ArtifactRow.kind == KIND))
    }


def _jobs(ids: Sequence[int]) -> str:
    return f"Job {ids[0]}" if len(ids) == 1 else f"{len(ids)} jobs ({_some(ids)})"


def _some(things: Sequence[object]) -> str:
    more = f" and {len(things) - SHOWN} more" if len(things) > SHOWN else ""
    return ", ".join(str(each) for each in things[:SHOWN]) + more


_CHECKS: tuple[Callable[[Session], Iterator[Finding]], ...] = (
    _check_leases,
    _check_workers,
    _check_subjects,
    _check_results,
    _check_versions,
    _check_forgotten,
)
