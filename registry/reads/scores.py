"""A model's scores with others, out of a snapshot: the one shape that every answer about pairs is made of."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray

from registry.reads.snapshot import Snapshot
from registry.reads.zoo import Model
from sat_engine.scores import ScoreArrays, score_many

AT_FLOOR = "at floor"
NO_TRANSFER = "no transfer beyond noise"
SAME_NETWORK = "same network"


class Obtained(StrEnum):
    """How a score was come by."""

    MEASURED = "measured"
    ONE_SIDED = "one-sided"
    ESTIMATED = "estimated"


class Direction(StrEnum):
    """Which direction a one-sided score has, seen from the model asked about."""

    OUTGOING = "outgoing"
    INCOMING = "incoming"


@dataclass(frozen=True, kw_only=True, slots=True)
class Neighbour:
    """Another model, seen from one. Rates are shares of the n images that both classify correctly.

    sat, percent and their 95 % intervals are None where n is 0. rung: the last one that the counts cover.
    """

    model: str
    sat: float | None
    percent: float | None
    interval: tuple[float, float] | None
    percent_interval: tuple[float, float] | None
    n: int
    fools: float | None
    fooled_by: float | None
    obtained: Obtained
    direction: Direction | None
    rung: int
    flags: tuple[str, ...]


def neighbours(snapshot: Snapshot, model: Model, others: Sequence[Model]) -> list[Neighbour]:
    """The recorded scores of model with the others (members of the snapshot), in their order; the rest is left out."""
    here = snapshot.row(model)
    if here is None:
        return []
    rows = [(other, row) for other in others if (row := snapshot.row(other)) is not None]
    rows = [(other, row) for other, row in rows if snapshot.cells.n[here, row] >= 0]
    there = np.array([row for _, row in rows], dtype=np.int64)
    cells = snapshot.cells
    n, both = cells.n[here, there], cells.both[here, there]
    outgoing = _Direction(cells.fooled[here, there], cells.above_noise[here, there])
    incoming = _Direction(cells.fooled[there, here], cells.above_noise[there, here])
    scores = score_many(n, outgoing.fooled, incoming.fooled, both)
    return [
        Neighbour(
            model=other.name,
            n=int(n[i]),
            fools=outgoing.rate(i, n[i]),
            fooled_by=incoming.rate(i, n[i]),
            obtained=Obtained.ONE_SIDED if both[i] < 0 else Obtained.MEASURED,
            direction=None if both[i] >= 0 else Direction.OUTGOING if outgoing.fooled[i] >= 0 else Direction.INCOMING,
            rung=int(cells.rungs[here, row]) - 1,
            flags=_flags(scores, i, outgoing, incoming, same_network=here == row),
            **_score(scores, i),
        )
        for i, (other, row) in enumerate(rows)
    ]


@dataclass(frozen=True, slots=True)
class _Direction:
    """Counts (k,) of one direction, and whether they rise above noise; MISSING where there are none."""

    fooled: NDArray[np.int32]
    above_noise: NDArray[np.int8]

    def rate(self, i: int, n: int) -> float | None:
        return int(self.fooled[i]) / int(n) if self.fooled[i] >= 0 and n > 0 else None


class _Score(TypedDict):
    sat: float | None
    percent: float | None
    interval: tuple[float, float] | None
    percent_interval: tuple[float, float] | None


def _score(scores: ScoreArrays, i: int) -> _Score:
    if np.isnan(scores.sat[i]):
        return _Score(sat=None, percent=None, interval=None, percent_interval=None)
    return _Score(
        sat=float(scores.sat[i]),
        percent=float(scores.percent[i]),
        interval=(float(scores.sat_low[i]), float(scores.sat_high[i])),
        percent_interval=(float(scores.percent_low[i]), float(scores.percent_high[i])),
    )


def _flags(
    scores: ScoreArrays, i: int, outgoing: _Direction, incoming: _Direction, *, same_network: bool
) -> tuple[str, ...]:
    flags = [SAME_NETWORK] if same_network else []
    if scores.at_floor[i]:
        flags.append(AT_FLOOR)
    # what is not known to stay below the noise has the benefit of the doubt
    verdicts = {int(each.above_noise[i]) for each in (outgoing, incoming) if each.fooled[i] >= 0}
    if verdicts == {0} and not np.isnan(scores.sat[i]):
        flags.append(NO_TRANSFER)
    return tuple(flags)
