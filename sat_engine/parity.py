"""The gate that a faster numeric path must pass: the same bits, nearly, on the same images."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sat_engine import measure
from sat_engine.classifier import Classifier
from sat_engine.protocol import Protocol

GATE_IMAGES = 256
MOST_CLEAN_FLIPS = 0.005  # of the images
MOST_NET_CHANGE = 0.002  # of the bits of all cells, losses against gains
MOST_CELL_CHANGE = 0.01  # of a cell's bits

Bools = NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True, slots=True)
class Parity:
    """How far two paths of one network differ; shares, paired on the same images.

    clean_flips: images whose clean bit differs. cells: by what was fooling (own attack, the reference's attack,
    noise), the fooled rate on the candidate's path minus that on the reference's.
    """

    n: int
    clean_flips: float
    net_change: float
    cells: Mapping[str, float]

    @property
    def passes(self) -> bool:
        """Whether the candidate may stand for the reference."""
        return (
            self.clean_flips <= MOST_CLEAN_FLIPS
            and abs(self.net_change) <= MOST_NET_CHANGE
            and all(abs(change) <= MOST_CELL_CHANGE for change in self.cells.values())
        )


def compare_paths(  # noqa: PLR0917  # two paths, and what measure.attack takes
    reference: Classifier,
    candidate: Classifier,
    images: measure.Images,
    labels: measure.Integers,
    protocol: Protocol,
    others: Mapping[str, measure.AttackResult] | None = None,
) -> Parity:
    """Return the parity of one network on two paths, over images (n, s, s, channels); `passes` is the gate.

    Cells: each path's own attack on itself, the reference's images on both, noise, and the attacks of others.
    """
    clean = {path: measure.correct(measure.evaluate(path, images), labels) for path in (reference, candidate)}
    right = clean[reference] & clean[candidate]
    made = {path: measure.attack(path, images, labels, right, protocol) for path in (reference, candidate)}
    pairs: dict[str, tuple[Bools, Bools]] = {
        "own attack": (made[reference].fooled, made[candidate].fooled),
        "noise": (made[reference].noise_fooled, made[candidate].noise_fooled),
    }
    for name, attack in {"the reference's attack": made[reference], **(others or {})}.items():
        onto = [
            measure.transfer(path, attack.images, attack.positions, labels, right) for path in (reference, candidate)
        ]
        pairs[name] = (onto[0], onto[1])
    n = max(int(right.sum()), 1)
    cells = {name: (int(fast.sum()) - int(exact.sum())) / n for name, (exact, fast) in pairs.items()}
    return Parity(
        n=int(right.sum()),
        clean_flips=float((clean[reference] != clean[candidate]).mean()) if len(labels) else 0.0,
        net_change=float(np.mean(list(cells.values()))),
        cells=cells,
    )
