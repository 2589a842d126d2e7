"""How long the measuring will still take, from how fast it went in the last minutes."""

import time
from collections import deque
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from registry.reads.progress import pair_rungs
from registry.reads.snapshot import Refusal, Snapshot, View
from registry.reads.solo import UNMEASURED
from registry.tables import ComparisonState

WINDOW_SECONDS = 300.0
LEAST_SECONDS = 2.0  # a rate over less says nothing


Ints = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, slots=True)
class Backlog:
    """What is left to be measured of the networks that are there, in forward passes of one image.

    first: on the first images (rung 0) alone. seconds: until nothing is left, None while that cannot be told.
    """

    first: float
    passes: float
    seconds: float | None


class Pace:
    """Watches the work done, in forward passes of images, over the last five minutes."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, float]] = deque(maxlen=600)
        self._left: float | None = None

    def note(self, view: View) -> None:
        """Take down how much is done and left in the comparisons that measure."""
        measuring = _measuring(view)
        if not measuring:
            self._left = None
            return
        work = [_work(snapshot) for snapshot in measuring]
        done, wanted = sum(each[0] for each in work), sum(each[1] for each in work)
        now = time.monotonic()
        if self._seen and done < self._seen[-1][1]:
            self._seen.clear()  # a model was deleted: its work no longer counts
        if not self._seen or now - self._seen[-1][0] >= WINDOW_SECONDS / 600 or done == wanted:
            self._seen.append((now, done))
        self._left = wanted - done

    def backlog(self, view: View) -> Backlog:
        """What is left in the comparisons that measure."""
        first = sum(_left_first(each) for each in _measuring(view))
        return Backlog(first=first, passes=max(self._left or 0.0, first), seconds=self.estimate_seconds())

    def estimate_seconds(self) -> float | None:
        """Seconds until nothing is left; None while that cannot be told."""
        if self._left is None or self._left <= 0:
            return None if self._left is None else 0.0
        now = time.monotonic()
        recent = [seen for seen in list(self._seen) if now - seen[0] <= WINDOW_SECONDS]
        if not recent or now - recent[0][0] < LEAST_SECONDS or recent[-1][1] <= recent[0][1]:
            return None
        rate = (recent[-1][1] - recent[0][1]) / (now - recent[0][0])
        return self._left / rate


def _measuring(view: View) -> list[Snapshot]:
    return [each for each in view.snapshots.values() if each.comparison.state is ComparisonState.MEASURING]


def _left_first(snapshot: Snapshot) -> float:
    """Forward passes that are left on rung 0."""
    comparison, cells = snapshot.comparison, snapshot.cells
    pairs = pair_rungs(snapshot) > 0
    done = int((pairs & (cells.fooled >= 0)).sum())
    done += sum(each.rung == 0 for each in snapshot.refusals)
    unattacked = sum(
        wanted > 0 and not (solo.attack and solo.attack.rungs)
        for network, wanted in zip(cells.networks.tolist(), snapshot.wanted_rungs.tolist(), strict=True)
        for solo in (snapshot.measures.solo.get(network, UNMEASURED),)
    )
    return float(comparison.rung_sizes[0]) * (
        max(0, int(pairs.sum()) - done) + 2 * comparison.gradients * int(unattacked)
    )


def _work(snapshot: Snapshot) -> tuple[float, float]:
    """Forward passes done and wanted: a cell is one an image, an attack two a gradient (forward and backward)."""
    comparison, cells = snapshot.comparison, snapshot.cells
    sizes = np.cumsum([0, *comparison.rung_sizes])
    rungs, wanted = pair_rungs(snapshot), snapshot.wanted_rungs.astype(np.int64)
    recorded = np.minimum(cells.rungs, rungs)[cells.fooled >= 0]
    attacked = np.zeros(len(wanted), dtype=np.int64)
    for network, solo in snapshot.measures.solo.items():
        if solo.attack and network in snapshot.position:
            attacked[snapshot.position[network]] = solo.attack.rungs
    attack_cost = 2 * comparison.gradients
    done = float(sizes[recorded].sum()) + attack_cost * float(sizes[np.minimum(attacked, wanted)].sum())
    refused = sum(_refused_images(snapshot, each, rungs, sizes) for each in snapshot.refusals)
    for row in np.flatnonzero(snapshot.is_unattackable):
        refused += float(sizes[rungs[row]].sum()) + attack_cost * float(sizes[wanted[row]])
    return done + refused, float(sizes[rungs].sum()) + attack_cost * float(sizes[wanted].sum())


def _refused_images(snapshot: Snapshot, refusal: Refusal, rungs: Ints, sizes: Ints) -> float:
    here, there = snapshot.position[refusal.source_id], snapshot.position[refusal.target_id]
    until = rungs[here, there]
    return float(sizes[until] - sizes[min(refusal.rung, until)])
