"""Pairs as their cells count them: over the leading rungs that both directions have."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from sqlalchemy import BindParameter, ColumnElement, Double, and_, cast, func, text
from sqlalchemy.orm import InstrumentedAttribute, Session

from registry.tables import PairRow

Counts = dict[str, int | None]
PAIR_COLUMNS = ("rungs", "n", "fooled_ab", "fooled_ba", "fooled_both")
# With every cell that is recorded: as text, since building it takes longer than running it. Each half runs down the
# cells' key.
_CELLS = text(
    "select source_id, target_id, rung, common, n_fooled, fooled from transfers"
    " where comparison_id = :comparison and target_id = :network and source_id = any(:others)"
    " union all"
    " select source_id, target_id, rung, common, n_fooled, fooled from transfers"
    " where comparison_id = :comparison and target_id = any(:others) and source_id = :network"
)


def nearness() -> ColumnElement[float]:
    """SQL: the share of a pair's common images that fooled, of the directions that are there; null without images."""
    there = func.coalesce(PairRow.fooled_ab, PairRow.fooled_ba) + func.coalesce(PairRow.fooled_ba, PairRow.fooled_ab)
    return cast(there / func.nullif(2.0 * PairRow.n, 0), Double)


def is_pair_of(
    network_id: InstrumentedAttribute[int],
    other_id: BindParameter[int] | int,
    comparison_id: InstrumentedAttribute[int] | int,
) -> ColumnElement[bool]:
    """SQL: the row of PairRow is that of these two networks, in whichever order."""
    return and_(
        PairRow.comparison_id == comparison_id,
        PairRow.a_id == func.least(network_id, other_id),
        PairRow.b_id == func.greatest(network_id, other_id),
    )


def count_pair(session: Session, comparison_id: int, a: int, b: int) -> Counts:
    """The columns of the pair (a, b), a < b; one-sided over the rungs of the direction that is there."""
    return count_pairs(session, comparison_id, a, [b])[a, b]


def count_pairs(
    session: Session, comparison_id: int, network_id: int, others: Sequence[int]
) -> dict[tuple[int, int], Counts]:
    """As `count_pair`, by (a, b) with a < b, for the network with each of the others, in one exchange."""
    found = session.execute(_CELLS, {"comparison": comparison_id, "network": network_id, "others": list(others)})
    cells: defaultdict[int, dict[tuple[int, int], Any]] = defaultdict(dict)
    for row in found:
        cells[row.source_id if row.target_id == network_id else row.target_id][row.source_id, row.rung] = row
    return {(a, b): _count(cells[other], a, b) for other in others for a, b in [sorted((network_id, other))]}


def _count(cells: dict[tuple[int, int], Any], a: int, b: int) -> Counts:
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
