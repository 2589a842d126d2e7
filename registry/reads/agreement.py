"""How far two comparisons rank pairs of networks alike."""

from dataclasses import dataclass

import numpy as np

from registry.errors import InvalidError
from registry.reads.snapshot import Snapshot
from sat_engine import agreement
from sat_engine.errors import NotComputableError


@dataclass(frozen=True, kw_only=True, slots=True)
class Agreement:
    """Two comparisons by name and version, and what sat_engine.agreement says; reason says why it says nothing."""

    comparisons: tuple[str, str]
    versions: tuple[int, int]
    found: agreement.Agreement | None
    reason: str | None


def read_agreement(first: Snapshot, second: Snapshot) -> Agreement:
    """The agreement over the pairs of networks that both measured in both directions; scores are never mixed.

    Models that share a network count once. InvalidError when the two are of different tasks.
    """
    if first.comparison.task_id != second.comparison.task_id:
        names = [each.zoo.tasks[each.comparison.task_id].name for each in (first, second)]
        raise InvalidError(
            f"{first.comparison.name} measures task {names[0]!r} and {second.comparison.name} task {names[1]!r}: "
            "compare comparisons of one task (GET /comparisons lists them)."
        )
    _, here, there = np.intersect1d(first.cells.networks, second.cells.networks, return_indices=True)
    found = reason = None
    try:
        found = agreement.compare(_measured(first, here), _measured(second, there))
    except NotComputableError as error:
        reason = f"{error}."
    return Agreement(
        comparisons=(first.comparison.name, second.comparison.name),
        versions=(first.comparison.version, second.comparison.version),
        found=found,
        reason=reason,
    )


def _measured(snapshot: Snapshot, rows: np.ndarray) -> agreement.Floats:
    """SAT of the pairs measured in both directions, by the order of rows; NaN for the others."""
    cells = np.ix_(rows, rows)
    return np.where(snapshot.cells.both[cells] >= 0, snapshot.cells.sat[cells], np.nan)
