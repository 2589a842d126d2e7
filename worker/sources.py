"""What cells need of their sources, read for many cells in one exchange with the database."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import and_, select
from sqlalchemy.dialects.postgresql import distinct_on
from sqlalchemy.orm import Session

from registry.pending import Cell
from registry.storage.eviction import touch
from registry.tables import AttackRow, EvaluationRow, ImageSetRow, NetworkRow, Part, TransferRow
from sat_engine import bits
from worker.context import Context

READ_TOGETHER = 64

Bools = NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """A source on one rung.

    ceiling: where its own images fool it after the target's size, if some cell of that size has found that out.
    """

    network: NetworkRow
    evaluation: EvaluationRow
    attack: AttackRow
    ceiling: Bools | None


def sources_of(
    context: Context, comparison_id: int, image_set: ImageSetRow, target: NetworkRow, cells: Sequence[Cell]
) -> Iterator[tuple[Cell, Source | None]]:
    """Each cell, all of one rung, with its source; None where that is being attacked anew."""
    for start in range(0, len(cells), READ_TOGETHER):
        few = cells[start : start + READ_TOGETHER]
        with context.sessions.begin() as session:
            found = _read(session, comparison_id, image_set, target, few)
            touch(session, [each.attack.images for each in found.values() if each.attack.images is not None])
        yield from ((cell, found.get(cell.source_id)) for cell in few)


def _read(
    session: Session, comparison_id: int, image_set: ImageSetRow, target: NetworkRow, cells: Sequence[Cell]
) -> dict[int, Source]:
    rung = cells[0].rung
    rows = session.execute(
        select(AttackRow, NetworkRow, EvaluationRow)
        .join(NetworkRow, NetworkRow.id == AttackRow.network_id)
        .join(
            EvaluationRow,
            and_(
                EvaluationRow.network_id == AttackRow.network_id,
                EvaluationRow.image_set_id == image_set.id,
                EvaluationRow.part == Part.ATTACK,
                EvaluationRow.rung == AttackRow.rung,
            ),
        )
        .where(
            AttackRow.comparison_id == comparison_id,
            AttackRow.rung == rung,
            AttackRow.network_id.in_([cell.source_id for cell in cells]),
        )
    ).all()
    unequal = [network.id for _, network, _ in rows if network.input_side != target.input_side]
    ceilings = _read_ceilings(session, comparison_id, rung, unequal, target.input_side)
    return {
        network.id: Source(
            network=network,
            evaluation=evaluation,
            attack=attack,
            ceiling=bits.unpack(ceilings[network.id], evaluation.n) if network.id in ceilings else None,
        )
        for attack, network, evaluation in rows
    }


def _read_ceilings(
    session: Session, comparison_id: int, rung: int, source_ids: Sequence[int], side: int
) -> dict[int, bytes]:
    """Packed bits by source, from any cell onto a target of that size."""
    if not source_ids:
        return {}
    rows = session.execute(
        select(TransferRow.source_id, TransferRow.ceiling_fooled)
        .join(NetworkRow, NetworkRow.id == TransferRow.target_id)
        .where(
            TransferRow.comparison_id == comparison_id,
            TransferRow.source_id.in_(source_ids),
            TransferRow.rung == rung,
            NetworkRow.input_side == side,
        )
        .order_by(TransferRow.source_id)
        .ext(distinct_on(TransferRow.source_id))
    )
    return {source_id: ceiling for source_id, ceiling in rows if ceiling is not None}
