"""Adversarial images are a cache: those that nothing waits for make room, the least recently used first.

An attack without its images is whole: they are made again from the protocol when a transfer needs them, and must
match their hash (worker/images.py).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, and_, any_, exists, func, or_, select, tuple_, update
from sqlalchemy.orm import Session

from registry.comparisons import is_live
from registry.database import Sessions
from registry.errors import StorageFullError
from registry.intervals import seconds
from registry.storage.references import is_referenced
from registry.tables import (
    ArtifactRow,
    ArtifactState,
    AttackRow,
    ComparisonRow,
    ComparisonState,
    EvaluationRow,
    JobKind,
    JobRow,
    JobState,
    Part,
    RefusalRow,
    TransferRow,
)

KIND = "adversarial"
# How exactly the time of the last use is known; writing it at every use would cost an update a cell.
TOUCH_SECONDS = 60
# Room for one attack is mostly found among so many.
FEW = 8

Remove = Callable[[bytes], None]


@dataclass(frozen=True, slots=True)
class _Candidate:
    comparison_id: int
    network_id: int
    rung: int
    sha256: bytes
    bytes: int


def adversarial_bytes(session: Session) -> int:
    """What adversarial images take of the store."""
    return int(
        session.execute(
            select(func.coalesce(func.sum(ArtifactRow.bytes), 0)).where(ArtifactRow.kind == KIND)
        ).scalar_one()
    )


def make_room(sessions: Sessions, remove: Remove, incoming: int, limit: int | None) -> None:
    """Evict until `incoming` more bytes of adversarial images are within the limit.

    StorageFullError when cells wait for those that are left: it passes when they are measured.
    """
    if limit is None:
        return
    with sessions() as session:
        excess = adversarial_bytes(session) + incoming - limit
    if excess > 0 and evict(sessions, remove, excess) < excess:
        raise StorageFullError(
            f"adversarial images may take {limit:,} bytes (SAT_ADVERSARIAL_BYTES), {incoming:,} more are to be stored, "
            "and cells wait for those that are there: this goes on when they are measured, or when the limit is raised."
        )


def touch(session: Session, images: Sequence[bytes]) -> None:
    """Note that these images are used now, to the minute. A row that somebody else has locked is being touched."""
    old = (
        select(ArtifactRow.sha256)
        .where(ArtifactRow.sha256.in_(images), ArtifactRow.touched_at < func.now() - seconds(TOUCH_SECONDS))
        .with_for_update(skip_locked=True)
    )
    session.execute(
        update(ArtifactRow)
        .where(ArtifactRow.sha256.in_(old))
        .values(touched_at=func.now())
        .execution_options(synchronize_session=False)
    )


def evict(sessions: Sessions, remove: Remove, needed: int) -> int:
    """Delete adversarial images until `needed` bytes are free or only those are left that cells wait for.

    Sources that are measured no more go first, then rung 1 before rung 0, then the least recently used. Return how
    many bytes were freed. Safe beside running work: a transfer that had begun to read them has them, or makes them
    again.
    """
    freed = 0
    with sessions() as session:
        candidates = _candidates(session)
    for some in (candidates[:FEW], candidates[FEW:]):
        if freed >= needed:
            break
        with sessions() as session:
            evictable = _not_awaited(session, some)
        for candidate in evictable:
            if freed < needed and _evict_one(sessions, remove, candidate):
                freed += candidate.bytes
    return freed


def delete_condemned(sessions: Sessions, remove: Remove, sha256: bytes) -> bool:
    """Delete a condemned artifact's bytes, then its row; False when it was taken back, or another is at it.

    The row stays locked meanwhile: whoever puts the same bytes, or refers to them, waits, and then finds them gone.
    """
    with sessions.begin() as session:
        row = session.execute(
            select(ArtifactRow)
            .where(ArtifactRow.sha256 == sha256, ArtifactRow.state == ArtifactState.CONDEMNED)
            .with_for_update(skip_locked=True)
        ).scalar_one_or_none()
        if row is None:
            return False
        # asked anew, now that nobody can begin to refer to it
        if session.execute(select(exists().where(ArtifactRow.sha256 == sha256, is_referenced()))).scalar_one():
            row.state = ArtifactState.STORED
            return False
        remove(sha256)
        session.delete(row)
    return True


def _candidates(session: Session) -> list[_Candidate]:
    """All that are there, in the order in which they go; cells may wait for them."""
    rows = session.execute(
        select(AttackRow.comparison_id, AttackRow.network_id, AttackRow.rung, ArtifactRow.sha256, ArtifactRow.bytes)
        .join(ArtifactRow, ArtifactRow.sha256 == AttackRow.images)
        .order_by(is_live(AttackRow.network_id), AttackRow.rung.desc(), ArtifactRow.touched_at, AttackRow.network_id)
    )
    return [_Candidate(*row) for row in rows]


def _not_awaited(session: Session, candidates: Sequence[_Candidate]) -> list[_Candidate]:
    """Those that no cell waits for, in the same order.

    Of a few, each is looked up, some milliseconds each; of many, all cells that are missing are found at once.
    """
    key = tuple_(AttackRow.comparison_id, AttackRow.network_id, AttackRow.rung)
    keys = [(each.comparison_id, each.network_id, each.rung) for each in candidates]
    if len(candidates) > FEW:
        awaited = session.execute(select(*key.clauses).where(is_live(AttackRow.network_id), *_waits()).distinct())
        left = set(keys) - {tuple(row) for row in awaited}
    else:
        left = {tuple(row) for row in session.execute(select(*key.clauses).where(key.in_(keys), ~_is_awaited()))}
    return [each for each, its_key in zip(candidates, keys, strict=True) if its_key in left]


def _evict_one(sessions: Sessions, remove: Remove, candidate: _Candidate) -> bool:
    """Whether these images are gone now; not when a cell has begun to wait for them, or another attack has them."""
    with sessions.begin() as session:
        let_go = session.execute(
            update(AttackRow)
            .where(
                AttackRow.comparison_id == candidate.comparison_id,
                AttackRow.network_id == candidate.network_id,
                AttackRow.rung == candidate.rung,
                AttackRow.images == candidate.sha256,
                ~_is_awaited(),
            )
            .values(images=None)
            .returning(AttackRow.rung)
        ).one_or_none()
        if let_go is None:
            return False
        session.execute(
            update(ArtifactRow)
            .where(ArtifactRow.sha256 == candidate.sha256, ~is_referenced())
            .values(state=ArtifactState.CONDEMNED, touched_at=func.now())
        )
    return delete_condemned(sessions, remove, candidate.sha256)


def _is_awaited() -> ColumnElement[bool]:
    """SQL: a transfers job that is queued or runs, and is not held up itself, still has a cell of this attack to do."""
    return and_(is_live(AttackRow.network_id), exists(JobRow.id).where(*_waits()).correlate(AttackRow))


def _waits() -> tuple[ColumnElement[bool], ...]:
    """SQL: this job has a cell of this attack to do; of attacks, jobs, comparisons and evaluations."""
    met = [
        exists()
        .where(
            table.comparison_id == AttackRow.comparison_id,
            table.target_id == JobRow.network_id,
            table.source_id == AttackRow.network_id,
            table.rung == AttackRow.rung,
        )
        # two selects up: by itself, only the nearest would be meant
        .correlate(AttackRow, JobRow)
        for table in (TransferRow, RefusalRow)
    ]
    return (
        JobRow.kind == JobKind.TRANSFERS,
        JobRow.comparison_id == AttackRow.comparison_id,
        JobRow.network_id != AttackRow.network_id,
        JobRow.state.in_((JobState.QUEUED, JobState.RUNNING)),
        JobRow.failure.is_(None),
        # what has not asked it is not pending onto it (`jobs.hold`)
        or_(JobRow.sources.is_(None), AttackRow.network_id == any_(JobRow.sources)),
        ComparisonRow.id == JobRow.comparison_id,
        ComparisonRow.state == ComparisonState.MEASURING,
        EvaluationRow.network_id == JobRow.network_id,
        EvaluationRow.image_set_id == ComparisonRow.image_set_id,
        EvaluationRow.part == Part.ATTACK,
        EvaluationRow.rung == AttackRow.rung,
        *(~each for each in met),
    )
