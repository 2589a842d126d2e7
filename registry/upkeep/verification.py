"""Reading everything, a page at a time: every artifact against its hash, every pair against its cells' bits."""

import time
from collections.abc import Iterator
from dataclasses import dataclass

from sqlalchemy import and_, func, or_, select, tuple_
from sqlalchemy.orm import Session

from registry.counting import count_pair
from registry.database import Sessions
from registry.errors import InvalidError, LostBytesError
from registry.storage.artifacts import ArtifactStore
from registry.tables import ArtifactRow, ArtifactState, PairRow, TransferRow
from registry.upkeep.doctor import Finding

PAGE_SECONDS = 2.0
_FEW = 200
_START = "artifacts"
_PAIRS = "pairs"


@dataclass(frozen=True, slots=True)
class Verified:
    """One page: what is wrong in it, how many things were read, and where to go on; None at the end."""

    findings: list[Finding]
    checked: int
    next: str | None


def verify(
    sessions: Sessions, store: ArtifactStore, after: str | None = None, *, page_seconds: float = PAGE_SECONDS
) -> Verified:
    """Read on from `after`, the `next` of the page before, for about so many seconds, and at least one thing.

    InvalidError for an `after` that no page gave, UnavailableError when the store does not answer.
    """
    what, _, begun = (after or _START).partition(":")
    deadline = time.monotonic() + page_seconds
    findings: list[Finding] = []
    checked = 0
    with sessions() as session:
        for position, found in _read(session, store, what, begun):
            checked += 1
            findings += found
            if time.monotonic() > deadline:
                return Verified(findings, checked, f"{what}:{position}")
    return Verified(findings, checked, f"{_PAIRS}:" if what == _START else None)


def _read(session: Session, store: ArtifactStore, what: str, position: str) -> Iterator[tuple[str, list[Finding]]]:
    try:
        if what == _START:
            return _read_artifacts(session, store, bytes.fromhex(position))
        if what == _PAIRS:
            first = tuple(int(part) for part in position.split("-")) if position else (0, 0, 0)
            comparison_id, a, b = first
            return _read_pairs(session, (comparison_id, a, b))
    except ValueError:
        pass
    raise InvalidError("`after` must be the `next` of the page before: leave it out to begin.")


def _read_artifacts(session: Session, store: ArtifactStore, after: bytes) -> Iterator[tuple[str, list[Finding]]]:
    while True:
        page = session.scalars(
            select(ArtifactRow.sha256)
            .where(ArtifactRow.sha256 > after, ArtifactRow.state == ArtifactState.STORED)
            .order_by(ArtifactRow.sha256)
            .limit(_FEW)
        ).all()
        session.rollback()  # hashing takes long: no transaction stays open meanwhile
        if not page:
            return
        for sha256 in page:
            yield sha256.hex(), _verify_artifact(session, store, sha256)
        after = page[-1]


def _verify_artifact(session: Session, store: ArtifactStore, sha256: bytes) -> list[Finding]:
    try:
        store.verify(sha256)
    except LostBytesError as error:
        # it may have been evicted or collected since the page was read
        still = session.scalars(select(ArtifactRow.kind).where(ArtifactRow.sha256 == sha256)).one_or_none()
        session.rollback()
        if still is not None:
            return [Finding("hashes", f"{error.detail.partition(':')[0]} ({still}).", _how_to_mend(still))]
    return []


def _how_to_mend(kind: str) -> str:
    if kind == "adversarial":
        return "Nothing: it is made again when a transfer needs it."
    return "Copy it back from a backup. Without one, delete the object, and register again what it belongs to."


def _read_pairs(session: Session, after: tuple[int, int, int]) -> Iterator[tuple[str, list[Finding]]]:
    key = tuple_(PairRow.comparison_id, PairRow.a_id, PairRow.b_id)
    while True:
        # pairs and cells as they were at one moment: they are recorded together
        session.connection(execution_options={"isolation_level": "REPEATABLE READ"})
        pairs = session.scalars(select(PairRow).where(key > after).order_by(key).limit(_FEW)).all()
        for pair in pairs:
            after = (pair.comparison_id, pair.a_id, pair.b_id)
            yield "-".join(map(str, after)), _verify_pair(session, pair)
        session.rollback()
        if not pairs:
            return


def _verify_pair(session: Session, pair: PairRow) -> list[Finding]:
    """Compare the pair's counts with those of its cells, and these with their bits."""
    counts = count_pair(session, pair.comparison_id, pair.a_id, pair.b_id)
    named = f"of networks {pair.a_id} and {pair.b_id} in comparison {pair.comparison_id}"
    found = []
    if any(getattr(pair, name) != value for name, value in counts.items()):
        stored = {name: getattr(pair, name) for name in counts}
        found.append(
            Finding(
                "pairs",
                f"The pair {named} says {stored}, its cells say {counts}.",
                "Delete the pair's row and its cells, then `sat resume` on the comparison measures them again.",
            )
        )
    if wrong := _miscounted(session, pair):
        found.append(
            Finding(
                "cells",
                f"{wrong} cells {named} do not have as many bits as they say.",
                "Delete them and the pair's row, then `sat resume` on the comparison measures them again.",
            )
        )
    return found


def _miscounted(session: Session, pair: PairRow) -> int:
    either = or_(
        and_(TransferRow.source_id == pair.a_id, TransferRow.target_id == pair.b_id),
        and_(TransferRow.source_id == pair.b_id, TransferRow.target_id == pair.a_id),
    )
    return session.execute(
        select(func.count())
        .select_from(TransferRow)
        .where(
            TransferRow.comparison_id == pair.comparison_id,
            either,
            func.bit_count(TransferRow.fooled) != TransferRow.n_fooled,
        )
    ).scalar_one()
