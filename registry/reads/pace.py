"""How long the measuring will still take, from how fast it went in the last minutes."""

import time
from collections import deque

import numpy as np

from registry.reads.snapshot import Snapshot, View
from registry.tables import ComparisonState

WINDOW_SECONDS = 300.0
LEAST_SECONDS = 2.0  # a rate over less says nothing


class Pace:
    """Watches the work done, in forward passes of images, over the last five minutes."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, float]] = deque(maxlen=600)
        self._left: float | None = None

    def note(self, view: View) -> None:
        """Take down how much is done and left in the comparisons that measure."""
        measuring = [each for each in view.snapshots.values() if each.comparison.state is ComparisonState.MEASURING]
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


def _work(snapshot: Snapshot) -> tuple[float, float]:
    """Forward passes done and wanted: a cell is one an image, an attack two a gradient (forward and backward)."""
    comparison, cells = snapshot.comparison, snapshot.cells
    sizes = np.cumsum([0, *comparison.rung_sizes])
    networks = len(cells.networks)
    off_diagonal = (cells.fooled >= 0) & ~np.eye(networks, dtype=np.bool_)
    attacked = np.array([each.attack.rungs for each in snapshot.measures.solo.values() if each.attack], dtype=np.int64)
    attack_cost = 2 * comparison.gradients
    done = float(sizes[cells.rungs[off_diagonal]].sum()) + attack_cost * float(sizes[attacked].sum())
    refused = sum(float(sizes[-1] - sizes[each.rung]) for each in snapshot.refusals)
    return done + refused, float(sizes[-1]) * networks * (networks - 1 + attack_cost)
