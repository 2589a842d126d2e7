"""Recording what was measured: each result in its own short transaction, under the claim it was made in.

Locks are taken in one order everywhere: the claim's job row, other job rows, the pair, and last the comparison.
"""

from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from sqlalchemy import Table, delete, or_, select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from registry.comparisons import is_live
from registry.jobs import Claim, hold, note_progress, want, want_of_networks
from registry.tables import (
    AttackRow,
    EvaluationRow,
    ImageSetRow,
    JobKind,
    JobRow,
    JobState,
    Part,
    RefusalRow,
    TransferRow,
)
from registry.versions import raise_version
from sat_engine import bits

# Recording a cell is a handful of small statements: as text, since building them takes longer than running them.
_KEEP_IMAGES = text(
    "select images_sha256 from attacks where comparison_id = :comparison and network_id = :source and rung = :rung"
    " for key share"
)
_LOCK_PAIR = text(
    "insert into pairs (comparison_id, a_id, b_id, rungs, n, fooled_ab, version)"
    " values (:comparison, :a, :b, 1, 0, 0, 0)"
    " on conflict (comparison_id, a_id, b_id) do update set version = pairs.version"
)
_CELLS = cast("Table", TransferRow.__table__)
_INSERT_CELL = insert(_CELLS).on_conflict_do_nothing().returning(_CELLS.c.rung)
_CELLS_OF_PAIR = text(
    "select source_id, rung, common, n_fooled, fooled from transfers where comparison_id = :comparison"
    " and ((source_id = :a and target_id = :b) or (source_id = :b and target_id = :a))"
)
_SET_PAIR = text(
    "update pairs set rungs = :rungs, n = :n, fooled_ab = :fooled_ab, fooled_ba = :fooled_ba,"
    " fooled_both = :fooled_both, version = :version where comparison_id = :comparison and a_id = :a and b_id = :b"
)


@dataclass(frozen=True, kw_only=True, slots=True)
class EvaluationResult:
    """One network's clean answers on one (part, rung)."""

    part: Part
    rung: int
    correct: np.ndarray
    logits: bytes
    numeric_path: str
    seconds: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class AttackRecord:
    """One source's adversarial images on one rung, and what they do to the source itself."""

    rung: int
    attacked: int
    fooled: np.ndarray
    noise_fooled: np.ndarray
    images: bytes
    numeric_path: str
    seconds: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class TransferRecord:
    """One directed cell on one rung."""

    source_id: int
    rung: int
    common: int
    fooled: np.ndarray
    floor_fooled: np.ndarray | None
    ceiling_fooled: np.ndarray | None
    numeric_path: str
    seconds: float | None = None
    images_sha256: bytes | None = None  # of the images that were used; None: whatever the attack has


def record_evaluation(session: Session, claimed: Claim, image_set: ImageSetRow, result: EvaluationResult) -> None:
    """Record clean bits; the first rung starts the network's attack and the transfers onto it."""
    assert claimed.network_id is not None
    hold(session, claimed)
    session.execute(
        insert(EvaluationRow)
        .values(
            network_id=claimed.network_id,
            image_set_id=image_set.id,
            part=result.part,
            rung=result.rung,
            n=len(result.correct),
            correct=bits.pack(result.correct),
            n_correct=int(result.correct.sum()),
            logits=result.logits,
            numeric_path=result.numeric_path,
            worker_id=claimed.worker_id,
            seconds=result.seconds,
        )
        .on_conflict_do_nothing()
    )
    note_progress(session, claimed)
    if result.part is Part.ATTACK:
        want_measuring(session, claimed, result.rung)
    assert claimed.comparison_id is not None
    raise_version(session, claimed.comparison_id)


def want_measuring(session: Session, claimed: Claim, rung: int) -> None:
    """Ask for the network's own attack and for the transfers of all recorded attacks onto it."""
    for kind in (JobKind.ATTACK, JobKind.TRANSFERS):
        want(session, kind, network_id=claimed.network_id, comparison_id=claimed.comparison_id, rung=rung)


def record_attack(session: Session, claimed: Claim, image_set: ImageSetRow, record: AttackRecord) -> None:
    """Record an attack and ask every other live network for a transfer of it: the source's row, nothing more."""
    assert claimed.network_id is not None
    assert claimed.comparison_id is not None
    hold(session, claimed)
    session.execute(
        insert(AttackRow)
        .values(
            comparison_id=claimed.comparison_id,
            network_id=claimed.network_id,
            rung=record.rung,
            attacked=record.attacked,
            fooled=bits.pack(record.fooled),
            n_fooled=int(record.fooled.sum()),
            noise_fooled=bits.pack(record.noise_fooled),
            n_noise_fooled=int(record.noise_fooled.sum()),
            images=record.images,
            images_sha256=record.images,
            numeric_path=record.numeric_path,
            worker_id=claimed.worker_id,
            seconds=record.seconds,
            fence=claimed.fence,
        )
        .on_conflict_do_nothing()
    )
    targets = session.scalars(
        select(EvaluationRow.network_id)
        .where(
            EvaluationRow.image_set_id == image_set.id,
            EvaluationRow.part == Part.ATTACK,
            EvaluationRow.rung == record.rung,
            EvaluationRow.network_id != claimed.network_id,
            is_live(EvaluationRow.network_id, rung=record.rung),
        )
        .order_by(EvaluationRow.network_id)
    )
    want_of_networks(session, JobKind.TRANSFERS, targets.all(), claimed.comparison_id, rung=record.rung)
    raise_version(session, claimed.comparison_id)


def record_transfer(session: Session, claimed: Claim, record: TransferRecord) -> None:
    """Record a directed cell and bring its pair up to date. Recording a cell twice changes nothing.

    A cell whose source was attacked anew meanwhile is not recorded: it is pending again.
    """
    assert claimed.network_id is not None
    assert claimed.comparison_id is not None
    hold(session, claimed)
    if not _is_current(session, claimed.comparison_id, record):
        return
    cell = {
        "comparison_id": claimed.comparison_id,
        "target_id": claimed.network_id,
        "source_id": record.source_id,
        "rung": record.rung,
        "common": record.common,
        "fooled": bits.pack(record.fooled),
        "n_fooled": int(record.fooled.sum()),
        "floor_fooled": _pack(record.floor_fooled),
        "ceiling_fooled": _pack(record.ceiling_fooled),
        "numeric_path": record.numeric_path,
        "worker_id": claimed.worker_id,
        "seconds": record.seconds,
        "fence": claimed.fence,
    }
    inserted = session.execute(_INSERT_CELL, cell).one_or_none()
    if inserted is not None:
        note_progress(session, claimed)
        _update_pair(session, claimed.comparison_id, record.source_id, claimed.network_id)


def record_refusal(session: Session, claimed: Claim, source_id: int, rung: int, reason: str) -> None:
    """Record that a cell cannot be measured, so that its neighbours go on."""
    assert claimed.comparison_id is not None
    hold(session, claimed)
    session.execute(
        insert(RefusalRow)
        .values(
            comparison_id=claimed.comparison_id,
            target_id=claimed.network_id,
            source_id=source_id,
            rung=rung,
            reason=reason,
        )
        .on_conflict_do_nothing()
    )
    raise_version(session, claimed.comparison_id)


def retry_measuring(session: Session, network_id: int) -> bool:
    """Queue a network's failed jobs and forget the refusals of its cells; whether there were any."""
    failed = session.execute(
        select(JobRow.kind, JobRow.comparison_id)
        .where(JobRow.network_id == network_id, JobRow.state == JobState.FAILED)
        .order_by(JobRow.id)
    ).all()
    refused = session.execute(
        delete(RefusalRow)
        .where(or_(RefusalRow.source_id == network_id, RefusalRow.target_id == network_id))
        .returning(RefusalRow.target_id, RefusalRow.comparison_id)
    ).all()
    for kind, comparison_id in failed:
        want(session, kind, network_id=network_id, comparison_id=comparison_id)
    for target_id, comparison_id in sorted(set(refused)):
        want(session, JobKind.TRANSFERS, network_id=target_id, comparison_id=comparison_id)
    return bool(failed or refused)


def _is_current(session: Session, comparison_id: int, record: TransferRecord) -> bool:
    """Whether the attack still has the images that were used; it keeps them until the end of the transaction."""
    attack = {"comparison": comparison_id, "source": record.source_id, "rung": record.rung}
    images = session.execute(_KEEP_IMAGES, attack).scalar_one_or_none()
    return images is not None and record.images_sha256 in (None, images)


def _update_pair(session: Session, comparison_id: int, one: int, other: int) -> None:
    """Lock the pair's row, then count both directions as they now are.

    The lock comes first: two transactions that each record one direction would otherwise both miss the other's.
    """
    a, b = sorted((one, other))
    pair = {"comparison": comparison_id, "a": a, "b": b}
    session.execute(_LOCK_PAIR, pair)
    counts = count_pair(session, comparison_id, a, b)
    version = raise_version(session, comparison_id)
    session.execute(_SET_PAIR, pair | counts | {"version": version})


def count_pair(session: Session, comparison_id: int, a: int, b: int) -> dict[str, int | None]:
    """The pair's counts over the leading rungs that both directions have; one-sided over those that one has."""
    found = session.execute(_CELLS_OF_PAIR, {"comparison": comparison_id, "a": a, "b": b})
    cells = {(row.source_id, row.rung): row for row in found}
    ab, ba = _leading(cells, a), _leading(cells, b)
    if ab and ba:
        both = list(zip(ab, ba, strict=False))
        return {
            "rungs": len(both),
            "n": sum(one.common for one, _ in both),
            "fooled_ab": sum(one.n_fooled for one, _ in both),
            "fooled_ba": sum(other.n_fooled for _, other in both),
            "fooled_both": sum(_count_both(one.fooled, other.fooled) for one, other in both),
        }
    there = ab or ba
    n_fooled = sum(row.n_fooled for row in there)
    return {
        "rungs": len(there),
        "n": sum(row.common for row in there),
        "fooled_ab": n_fooled if ab else None,
        "fooled_ba": n_fooled if ba else None,
        "fooled_both": None,
    }


def _leading(cells: dict[tuple[int, int], Any], source: int) -> list[Any]:
    leading = []
    for rung in (0, 1):
        if (source, rung) not in cells:
            break
        leading.append(cells[source, rung])
    return leading


def _count_both(one: bytes, other: bytes) -> int:
    return (int.from_bytes(one) & int.from_bytes(other)).bit_count()


def _pack(flags: np.ndarray | None) -> bytes | None:
    return None if flags is None else bits.pack(flags)
