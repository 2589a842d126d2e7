"""A model's scores with others, out of a snapshot: the one shape that every answer about pairs is made of."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from registry.reads.snapshot import Snapshot
from registry.reads.zoo import Model
from sat_engine.scores import score_many

AT_FLOOR = "at floor"
NO_TRANSFER = "no transfer beyond noise"
SAME_NETWORK = "same network"


class Obtained(StrEnum):
    """How a score was come by."""

    MEASURED = "measured"
    ONE_SIDED = "one-sided"


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
    known = [(other, row) for other in others if (row := snapshot.row(other)) is not None]
    known = [(other, row) for other, row in known if snapshot.cells.n[here, row] >= 0]
    columns = np.array([row for _, row in known], dtype=np.int64)
    return _describe(snapshot, here, [other for other, _ in known], columns)


def _describe(snapshot: Snapshot, here: int, others: Sequence[Model], columns: np.ndarray) -> list[Neighbour]:
    cells = snapshot.cells
    n, both, rungs = (array[here, columns].tolist() for array in (cells.n, cells.both, cells.rungs))
    out, into = cells.fooled[here, columns], cells.fooled[columns, here]
    above_out, above_in = cells.above_noise[here, columns].tolist(), cells.above_noise[columns, here].tolist()
    scores = score_many(cells.n[here, columns], out, into, cells.both[here, columns])
    found = []
    for i, other in enumerate(others):
        one_sided = both[i] < 0
        scored = n[i] > 0
        flags = [SAME_NETWORK] if columns[i] == here else []
        if scores.at_floor[i]:
            flags.append(AT_FLOOR)
        # a direction that is not known to stay below the noise (-1) is given the benefit of the doubt
        if scored and columns[i] != here and {above_out[i], above_in[i]} <= {0, *([-1] if one_sided else [])}:
            flags.append(NO_TRANSFER)
        found.append(
            Neighbour(
                model=other.name,
                sat=float(scores.sat[i]) if scored else None,
                percent=float(scores.percent[i]) if scored else None,
                interval=(float(scores.sat_low[i]), float(scores.sat_high[i])) if scored else None,
                percent_interval=(float(scores.percent_low[i]), float(scores.percent_high[i])) if scored else None,
                n=n[i],
                fools=int(out[i]) / n[i] if scored and out[i] >= 0 else None,
                fooled_by=int(into[i]) / n[i] if scored and into[i] >= 0 else None,
                obtained=Obtained.ONE_SIDED if one_sided else Obtained.MEASURED,
                direction=(Direction.OUTGOING if out[i] >= 0 else Direction.INCOMING) if one_sided else None,
                rung=rungs[i] - 1,
                flags=tuple(flags),
            )
        )
    return found
