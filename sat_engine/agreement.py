"""How far two ways of measuring rank pairs of models alike. numpy only.

Pairs that share a model are not independent, so intervals resample models (the node bootstrap: Snijders and Borgatti,
1999) and the test permutes them (Mantel, 1967); pairs are never resampled.
"""

from dataclasses import dataclass
from typing import NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from sat_engine.errors import NotComputableError

Floats = NDArray[np.float64]

LEAST_MODELS = 4
"""With three models there are three pairs, and two permutations of six give the same."""
MOST_MODELS = 256
"""Of more models, a random sample of so many is compared: 1,000 resamplings of all pairs of 1,300 would take 30 s."""
RESAMPLINGS = 1_000
PERMUTATIONS = 999
_RESAMPLED_LEAST = 3  # pairs of a resampling below which no correlation is taken


class Interval(NamedTuple):
    """A 95 % interval."""

    low: float
    high: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Agreement:
    """How alike two matrices rank the pairs that both measured.

    spearman: of those pairs, ties at their mean ranks; None where all pairs of one are equal. p_value: how often a
    random renaming of the models agrees as much (one-sided). mean_difference: second less first, in their own unit.
    models and pairs: that were compared; of_models: that could have been, where they were sampled.
    """

    spearman: float | None
    interval: Interval | None
    p_value: float | None
    mean_difference: float
    difference_interval: Interval
    models: int
    of_models: int
    pairs: int


def compare(first: Floats, second: Floats, *, seed: int = 0) -> Agreement:
    """Return how far two symmetric matrices (m, m) of the same models agree; NaN where a pair is not measured.

    The diagonal is not looked at. The order of the models matters only to the random draws, so sort them first.
    NotComputableError where fewer than four models, or no two pairs of them, are measured in both.
    """
    if first.shape != second.shape or first.shape != first.T.shape:
        raise ValueError("both matrices must be of the same models")
    both = np.isfinite(first) & np.isfinite(second)
    np.fill_diagonal(both, val=False)
    chosen = np.flatnonzero(both.any(axis=1))
    of_models = len(chosen)
    rng = np.random.default_rng(seed)
    if of_models > MOST_MODELS:
        chosen = np.sort(rng.choice(chosen, MOST_MODELS, replace=False))
    if len(chosen) < LEAST_MODELS:
        raise NotComputableError(
            f"{len(chosen)} models have pairs that both comparisons measured, and {LEAST_MODELS} are needed"
        )
    here = np.ix_(chosen, chosen)
    pairs = _Pairs(first[here], second[here], both[here])
    ones = np.ones(len(chosen))
    spearman = pairs.spearman(ones)
    draws = [rng.multinomial(len(chosen), ones / len(chosen)) for _ in range(RESAMPLINGS)]
    return Agreement(
        spearman=None if np.isnan(spearman) else spearman,
        interval=_interval([pairs.spearman(weights) for weights in draws]),
        p_value=None if np.isnan(spearman) else pairs.mantel(rng),
        mean_difference=pairs.difference(ones),
        difference_interval=_interval([pairs.difference(weights) for weights in draws]) or Interval(np.nan, np.nan),
        models=len(chosen),
        of_models=of_models,
        pairs=len(pairs.a),
    )


class _Pairs:
    """The pairs (a, b) of m models that two matrices both measured, with their values."""

    def __init__(self, first: Floats, second: Floats, both: NDArray[np.bool_]) -> None:
        self.a, self.b = np.nonzero(np.triu(both, 1))
        self._models = len(both)
        self._first, self._second = first[self.a, self.b], second[self.a, self.b]
        # which of the distinct values each pair has: ranks under any weights are then sums over values
        self._values = [np.unique(each, return_inverse=True)[1] for each in (self._first, self._second)]

    def spearman(self, weights: NDArray[np.number]) -> float:
        """Return Spearman's correlation with model i counted weights[i] times, NaN where there is none.

        A pair counts as often as its models together; a model is no pair with itself.
        """
        counts = (weights[self.a] * weights[self.b]).astype(np.float64)
        if (counts > 0).sum() < _RESAMPLED_LEAST:
            return float("nan")
        one, other = (_ranks(values, counts) for values in self._values)
        return _correlation(one, other, counts)

    def difference(self, weights: NDArray[np.number]) -> float:
        """Return the weighted mean of second less first."""
        counts = (weights[self.a] * weights[self.b]).astype(np.float64)
        total = counts.sum()
        return float(((self._second - self._first) * counts).sum() / total) if total else float("nan")

    def mantel(self, rng: np.random.Generator) -> float:
        """Return the share of renamings of the second matrix's models, the identity among them, that agree as much.

        Ranks stay those of all pairs; with pairs missing, only those that a renaming puts on measured pairs count.
        """
        ones = np.ones(len(self.a))
        ranks = [self._square(_ranks(values, ones)) for values in self._values]
        observed = _correlation(ranks[0][self.a, self.b], ranks[1][self.a, self.b], ones)
        as_much = 1
        for _ in range(PERMUTATIONS):
            order = rng.permutation(self._models)
            one, other = ranks[0][self.a, self.b], ranks[1][order[self.a], order[self.b]]
            there = np.isfinite(other)
            # rounding must not decide between equal arrangements
            as_much += bool(_correlation(one[there], other[there], ones[there]) >= observed - 1e-12)
        return as_much / (PERMUTATIONS + 1)

    def _square(self, ranks: Floats) -> Floats:
        square = np.full((self._models, self._models), np.nan)
        square[self.a, self.b] = square[self.b, self.a] = ranks
        return square


def _ranks(values: NDArray[np.integer], counts: Floats) -> Floats:
    """Return the mean rank of each pair (p,), whose values are numbered in rising order, counted so often."""
    many = np.bincount(values, counts)
    return cast("Floats", (np.cumsum(many) - many / 2)[values])


def _correlation(one: Floats, other: Floats, counts: Floats) -> float:
    """Return Pearson's correlation, weighted; NaN where either does not vary."""
    total = counts.sum()
    if not total:
        return float("nan")
    one, other = one - (counts * one).sum() / total, other - (counts * other).sum() / total
    spread = (counts * one * one).sum() * (counts * other * other).sum()
    return float((counts * one * other).sum() / spread**0.5) if spread > 0 else float("nan")


def _interval(drawn: list[float]) -> Interval | None:
    """Return the middle 95 % of the draws; None where most of them came to nothing."""
    found = np.array(drawn)[np.isfinite(drawn)]
    if len(found) < len(drawn) / 2:
        return None
    low, high = np.quantile(found, [0.025, 0.975])
    return Interval(float(low), float(high))
