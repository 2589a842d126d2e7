"""The gate that a faster numeric path must pass: the same bits, nearly, on the same images."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from sat_engine import measure
from sat_engine.classifier import Classifier
from sat_engine.geometry import resize
from sat_engine.protocol import Protocol

GATE_IMAGES = 256
# That both paths get right: where 50 show no change, 6 % of bits may still change (the 95 % bound of 0 of 50).
LEAST_IMAGES = 50
MOST_CLEAN_FLIPS = 0.005  # of the images
MOST_NET_CHANGE = 0.002  # of the bits of all cells, losses against gains
MOST_CELL_CHANGE = 0.01  # of a cell's bits
# Shares of the reference's perturbation, for want of others' attacks: the whole fools nearly every image, where no
# rounding shows. They lie nearer to the network's own limits than others' images do, and so judge more strictly.
WEAKENED = (0.5, 0.25, 0.125)

Bools = NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True, slots=True)
class Parity:
    """How far two paths of one network differ; shares, paired on the same images.

    n: images that both get right. clean_flips: images whose clean bit differs. cells: by what was fooling, the fooled
    rate on the candidate's path minus that on the reference's, for cells that have an image. net_change: the same over
    the bits of all cells.
    """

    n: int
    clean_flips: float
    net_change: float
    cells: Mapping[str, float]

    @property
    def passes(self) -> bool:
        """Whether the candidate may stand for the reference; never where too few images say so."""
        return (
            self.n >= LEAST_IMAGES
            and self.clean_flips <= MOST_CLEAN_FLIPS
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
    *,
    progress: measure.Progress | None = None,
) -> Parity:
    """Return the parity of one network on two paths, over images (n, s, s, channels); `passes` is the gate.

    Cells: each path's own attack on itself, each path's images on both, noise, and the attacks of others (on the same
    images) on both; without others, the reference's weakened images stand for them.
    progress hears a number now and then, and may raise.
    """
    clean = [
        measure.correct(measure.evaluate(path, images, progress=progress), labels) for path in (reference, candidate)
    ]
    right = clean[0] & clean[1]
    made = [measure.attack(path, images, labels, right, protocol, progress=progress) for path in (reference, candidate)]
    pairs: dict[str, tuple[Bools, Bools, int]] = {
        "own attack": (made[0].fooled, made[1].fooled, int(right.sum())),
        "noise": (made[0].noise_fooled, made[1].noise_fooled, int(right.sum())),
    }
    sources = {"the reference's attack": made[0], "the candidate's attack": made[1]}
    sources |= others or {
        f"{share:g} of the reference's attack": _weakened(made[0], images, share) for share in WEAKENED
    }
    for name, attack in sources.items():
        exact, fast = (
            measure.transfer(path, attack.images, attack.positions, labels, right, progress=progress)
            for path in (reference, candidate)
        )
        pairs[name] = (exact, fast, int(right[attack.positions].sum()))
    gains = {name: int(fast.sum()) - int(exact.sum()) for name, (exact, fast, _) in pairs.items()}
    bits = sum(n for _, _, n in pairs.values())
    return Parity(
        n=int(right.sum()),
        clean_flips=float((clean[0] != clean[1]).mean()) if len(labels) else 0.0,
        net_change=sum(gains.values()) / bits if bits else 0.0,
        cells={name: gains[name] / n for name, (_, _, n) in pairs.items() if n},
    )


def _weakened(made: measure.AttackResult, images: measure.Images, share: float) -> measure.AttackResult:
    """Return the attack with this share of its perturbation, rounded; what it fools is still to be measured."""
    clean = resize(images[made.positions], made.images.shape[1]).astype(np.float32)
    weaker = np.rint(clean + np.float32(share) * (made.images - clean)).astype(np.uint8)
    return replace(made, images=weaker)
