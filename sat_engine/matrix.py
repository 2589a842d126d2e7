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


LOW_SELF_FOOLING = 0.95  # below it, a network's scores understate similarity (docs/sat.md)


@dataclass(frozen=True, kw_only=True, slots=True)
class SatMatrix:
    """SAT of every pair of names, and what it is made of.

    sat, percent: float64 (m, m), symmetric, NaN on the diagonal and where a pair has no common image or lacks a
    direction. counts and scores hold each pair (i, j), i < j, the latter with its interval; a pair of one direction
    has a one-sided score there. self_fooling: (m,), share of its attacked images on which a network's own attack fools
    it; below 0.95 its scores understate similarity; NaN where none was attacked. correct and fooled are the bits:
    (m, n), and (m, m, n) by source and target. missing: why a cell (source, target) could not be measured.
    """

    names: tuple[str, ...]
    sat: Floats
    percent: Floats
    counts: Mapping[tuple[int, int], PairCounts]
    scores: Mapping[tuple[int, int], Score]
    self_fooling: Floats
    correct: Bools
    fooled: Bools
    missing: Mapping[tuple[int, int], str]

    def table(self) -> str:
        """Return the scores as text, a row a network, and notes on what is marked: floors, weak attacks, gaps."""
        labels = [f"{name} *" if low else name for name, low in zip(self.names, self._understated(), strict=True)]
        width = max(map(len, labels))
        head = " " * width + "".join(f"{index:>8}" for index in range(len(labels)))
        rows = [
            f"{label:<{width}}" + "".join(self._cell(i, j) for j in range(len(labels)))
            for i, label in enumerate(labels)
        ]
        return "\n".join([head, *rows, *self._notes()])

    def _understated(self) -> Bools:
        return np.asarray(self.self_fooling < LOW_SELF_FOOLING)

    def _cell(self, i: int, j: int) -> str:
        if np.isnan(self.sat[i, j]):
            return f"{'·':>8}"
        pair = self.scores[min(i, j), max(i, j)]
        # of a score at the floor, only its upper bound is known
        return f"{f'≤{pair.interval[1]:.2f}' if pair.at_floor else f'{pair.sat:.2f}':>8}"

    def _notes(self) -> list[str]:
        notes = []
        if self._understated().any():
            notes.append("* self-fooling below 95 %: its scores understate similarity")
        if any(each.at_floor for each in self.scores.values()):
            notes.append("≤ at the floor: hardly an image of the pair was fooled")
        by_reason: dict[str, list[str]] = {}
        for (source, target), reason in self.missing.items():
            if source != target:
                by_reason.setdefault(reason, []).append(f"{self.names[source]} → {self.names[target]}")
        return [*notes, *(f"· {', '.join(cells)}: {reason}" for reason, cells in by_reason.items())]


def sat_matrix(
    classifiers: Mapping[str, Classifier],
    images: measure.Images,
    labels: measure.Integers,
    protocol: Protocol = PRESETS["pgd"],
    *,
    progress: Progress | None = None,
) -> SatMatrix:
    """Return the matrix over images uint8 (n, side, side, channels) with labels (n,); progress hears shares of 1.

    Every network is attacked once and every set of adversarial images goes once through every other network. What
    cannot be computed (a network that the attack is not for, logits that are not finite) is `missing`, and the rest is
    measured. NotComputableError where a network's logits of clean images are not finite, or where it is right hardly
    more often than by guessing: its labels are then in another order.
    """
    names, networks = tuple(classifiers), list(classifiers.values())
    # in forwards an image: one for the clean bits, two a gradient, one each for own images and noise, one a transfer
    attack_cost, others = 2 * protocol.gradients + 2, len(networks) - 1
    done, whole = 0.0, len(networks) * (1 + attack_cost + others)

    def hear(cost: float) -> Progress:
        start = done
        return lambda share: progress((start + share * cost) / whole) if progress else None

    correct = np.zeros((len(names), len(labels)), np.bool_)
    fooled = np.zeros((len(names), len(names), len(labels)), np.bool_)
    attacks: dict[int, measure.AttackResult] = {}
    missing: dict[tuple[int, int], str] = {}
    for i, network in enumerate(networks):
        correct[i] = measure.correct(measure.evaluate(network, images), labels)
        require_above_chance(names[i], correct[i], len(network.class_map))
        done += 1
        try:
            attacks[i] = measure.attack(network, images, labels, correct[i], protocol, progress=hear(attack_cost))
            fooled[i, i] = attacks[i].fooled
        except NotComputableError as error:
            missing |= {(i, j): str(error) for j in range(len(networks))}
        done += attack_cost
    for j, target in enumerate(networks):
        for i, made in attacks.items():
            if i == j:
                continue
            common = correct[i] & correct[j]
            try:
                fooled[i, j] = measure.transfer(target, made.images, made.positions, labels, common)
            except NotComputableError as error:
                missing[i, j] = str(error)
        done += others
        hear(0)(1)
    return assemble(names, correct, fooled, missing)


def assemble(
    names: Sequence[str], correct: Bools, fooled: Bools, missing: Mapping[tuple[int, int], str] | None = None
) -> SatMatrix:
    """Return the matrix that bits make: correct (m, n), fooled (m, m, n) by source and target, but for `missing`."""
    gaps = dict(missing or {})

    def bits(i: int, j: int) -> Bools | None:
        return None if (i, j) in gaps else fooled[i, j]

    size = len(names)
    counts: dict[tuple[int, int], PairCounts] = {}
    scores: dict[tuple[int, int], Score] = {}
    sat, percent = np.full((size, size), np.nan), np.full((size, size), np.nan)
    for i, j in combinations(range(size), 2):
        counts[i, j] = count_pair(correct[i], correct[j], bits(i, j), bits(j, i))
        try:
            scores[i, j] = score(counts[i, j])
        except NotComputableError:
            continue
        if scores[i, j].one_sided:
            continue  # not to be taken for one of both directions
        sat[i, j] = sat[j, i] = scores[i, j].sat
        percent[i, j] = percent[j, i] = scores[i, j].percent
    right = np.array([0 if (i, i) in gaps else correct[i].sum() for i in range(size)])
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
        missing=gaps,
    )
