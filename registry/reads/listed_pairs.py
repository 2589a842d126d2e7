"""All recorded pairs, a page at a time, by the names of both models."""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from registry.reads.scores import AT_FLOOR, NO_TRANSFER, SAME_NETWORK, Neighbour, Obtained, neighbours
from registry.reads.similar import require_not_failed
from registry.reads.snapshot import Snapshot
from sat_engine.scores import FLOOR_PERCENT

Bools = NDArray[np.bool_]


class Flag(StrEnum):
    """What a score can be marked with."""

    AT_FLOOR = AT_FLOOR
    NO_TRANSFER = NO_TRANSFER
    SAME_NETWORK = SAME_NETWORK


@dataclass(frozen=True, kw_only=True, slots=True)
class PairFilter:
    """Which pairs are wanted. model: a reference to one of the two. Bounds are of SAT, both included."""

    model: str | None = None
    obtained: Obtained | None = None
    flag: Flag | None = None
    min_sat: float | None = None
    max_sat: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class ListedPair:
    """A recorded pair: score is b seen from a, and a comes first by name."""

    a: str
    score: Neighbour


@dataclass(frozen=True, kw_only=True, slots=True)
class PairList:
    """One page of pairs. total: on all pages."""

    comparison: str
    version: int
    items: tuple[ListedPair, ...]
    total: int
    more: bool


def list_pairs(snapshot: Snapshot, wanted: PairFilter, *, after: tuple[str, str], limit: int) -> PairList:
    """Up to `limit` pairs that follow the two names of `after`; a pair that comes later moves no other page.

    NotFoundError for an unknown model, ConflictError for a failed one.
    """
    only = None
    if wanted.model is not None:
        model = snapshot.find(wanted.model)
        require_not_failed(model)
        only = next((i for i, each in enumerate(snapshot.members) if each.id == model.id), -1)
    names = [each.name for each in snapshot.members]
    total, chosen = 0, list[ListedPair]()
    # a row at a time: a matrix of 1,300 models for each condition would be megabytes
    for here, name in enumerate(names):
        others = here + 1 + np.flatnonzero(_matches(snapshot, wanted, here, only))
        total += len(others)
        if len(chosen) > limit or name < after[0]:
            continue
        first = next((k for k, other in enumerate(others) if (name, names[other]) > after), len(others))
        shown = [snapshot.members[other] for other in others[first : first + limit + 1 - len(chosen)].tolist()]
        chosen += [ListedPair(a=name, score=each) for each in neighbours(snapshot, snapshot.members[here], shown)]
    return PairList(
        comparison=snapshot.comparison.name,
        version=snapshot.comparison.version,
        items=tuple(chosen[:limit]),
        total=total,
        more=len(chosen) > limit,
    )


def _matches(snapshot: Snapshot, wanted: PairFilter, here: int, only: int | None) -> Bools:
    """Which of the members that follow this one make a pair with it that is wanted."""
    cells, row, rows = snapshot.cells, snapshot.rows[here], snapshot.rows[here + 1 :]
    sat, both = cells.sat[row, rows], cells.both[row, rows]
    found: Bools = cells.n[row, rows] >= 0
    if only is not None and only != here:
        found = found & (np.arange(here + 1, here + 1 + len(rows)) == only)
    if wanted.obtained is not None:
        found = found & ((both >= 0) == (wanted.obtained is Obtained.MEASURED))
    if wanted.min_sat is not None:
        found = found & (sat >= wanted.min_sat)
    if wanted.max_sat is not None:
        found = found & (sat <= wanted.max_sat)
    if wanted.flag is not None and found.any():
        found = found & _flagged(snapshot, wanted.flag, here)
    return found


def _flagged(snapshot: Snapshot, flag: Flag, here: int) -> Bools:
    """Which of the members that follow this one make a pair with it that carries the flag."""
    cells, row, rows = snapshot.cells, snapshot.rows[here], snapshot.rows[here + 1 :]
    if flag is Flag.SAME_NETWORK:
        same: Bools = rows == row
        return same
    if flag is Flag.AT_FLOOR:
        at_floor: Bools = cells.sat[row, rows] <= np.log(FLOOR_PERCENT)
        return at_floor
    known = (cells.fooled[row, rows] >= 0, cells.fooled[rows, row] >= 0)
    above = (cells.above_noise[row, rows] != 0, cells.above_noise[rows, row] != 0)
    within: Bools = ~((known[0] & above[0]) | (known[1] & above[1])) & (known[0] | known[1])
    within &= ~np.isnan(cells.sat[row, rows])
    return within
