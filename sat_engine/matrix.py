"""The whole matrix of SAT scores of some networks, without a registry."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from sat_engine import measure
from sat_engine.accuracy import require_above_chance
from sat_engine.classifier import Classifier
from sat_engine.errors import NotComputableError
from sat_engine.protocol import PRESETS, Protocol
from sat_engine.scores import PairCounts, Score, count_pair, score

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Progress = Callable[[float], None]


@dataclass(frozen=True, kw_only=True, slots=True)
class SatMatrix:
    """SAT of every pair of names, and what it is made of.

    sat, percent: float64 (m, m), symmetric, NaN on the diagonal and where a pair has no common image. counts and
    scores hold each pair (i, j), i < j, the latter with its interval. self_fooling: (m,), share of its correct images
    on which a network's own attack fools it; below 0.95 its scores understate similarity. correct and fooled are the
    bits: (m, n), and (m, m, n) by source and target.
    """

    names: tuple[str, ...]
    sat: Floats
    percent: Floats
    counts: Mapping[tuple[int, int], PairCounts]
    scores: Mapping[tuple[int, int], Score]
    self_fooling: Floats
    correct: Bools
    fooled: Bools

    def table(self) -> str:
        """Return the scores as text, a row a network."""
        width = max(map(len, self.names))
        head = " " * width + "".join(f"{index:>7}" for index in range(len(self.names)))
        rows = [
            f"{name:<{width}}" + "".join("      ·" if np.isnan(value) else f"{value:7.2f}" for value in row)
            for name, row in zip(self.names, self.sat, strict=True)
        ]
        return "\n".join([head, *rows])


def sat_matrix(
    classifiers: Mapping[str, Classifier],
    images: measure.Images,
    labels: measure.Integers,
    protocol: Protocol = PRESETS["pgd"],
    *,
    progress: Progress | None = None,
) -> SatMatrix:
    """Return the matrix over images uint8 (n, side, side, channels) with labels (n,); progress hears shares of 1.

    Every network is attacked once and every set of adversarial images goes once through every other network.
    NotComputableError where logits or gradients are not finite, or where a network is right hardly more often than by
    guessing: its labels are then in another order.
    """
    names, networks = tuple(classifiers), list(classifiers.values())
    # in forwards an image: one for the clean bits, two a step, one each for own images and noise, one a transfer
    attack_cost, others = 2 * protocol.steps + 2, len(networks) - 1
    done, whole = 0.0, len(networks) * (1 + attack_cost + others)

    def hear(cost: float) -> Progress:
        start = done
        return lambda share: progress((start + share * cost) / whole) if progress else None

    correct = np.zeros((len(names), len(labels)), np.bool_)
    fooled = np.zeros((len(names), len(names), len(labels)), np.bool_)
    attacks = []
    for i, network in enumerate(networks):
        correct[i] = measure.correct(measure.evaluate(network, images), labels)
        require_above_chance(names[i], correct[i], len(network.class_map))
        done += 1
        attacks.append(measure.attack(network, images, labels, correct[i], protocol, progress=hear(attack_cost)))
        fooled[i, i] = attacks[i].fooled
        done += attack_cost
    for j, target in enumerate(networks):
        for i, made in enumerate(attacks):
            if i != j:
                common = correct[i] & correct[j]
                fooled[i, j] = measure.transfer(target, made.images, made.positions, labels, common)
        done += others
        hear(0)(1)
    return assemble(names, correct, fooled)


def assemble(names: Sequence[str], correct: Bools, fooled: Bools) -> SatMatrix:
    """Return the matrix that bits make: correct (m, n), fooled (m, m, n) by source and target."""
    size = len(names)
    counts: dict[tuple[int, int], PairCounts] = {}
    scores: dict[tuple[int, int], Score] = {}
    sat, percent = np.full((size, size), np.nan), np.full((size, size), np.nan)
    for i, j in combinations(range(size), 2):
        counts[i, j] = count_pair(correct[i], correct[j], fooled[i, j], fooled[j, i])
        try:
            scores[i, j] = score(counts[i, j])
        except NotComputableError:
            continue
        sat[i, j] = sat[j, i] = scores[i, j].sat
        percent[i, j] = percent[j, i] = scores[i, j].percent
    right = correct.sum(axis=1)
    own = np.array([fooled[i, i].sum() for i in range(size)])
    self_fooling = np.divide(own, right, out=np.full(size, np.nan), where=right > 0)
    return SatMatrix(
        names=tuple(names),
        sat=sat,
        percent=percent,
        counts=counts,
        scores=scores,
        self_fooling=self_fooling,
        correct=correct,
        fooled=fooled,
    )
