"""Which architecture components SAT goes with: gradient boosting on what differs between two models.

The paper fits a gradient boosting regressor (Friedman, 2001) on the Hamming difference of two models' 13 components
and reports permutation importance (Breiman, 2001). Two things are done otherwise, and shown:

* How well it fits is told for pairs with a model that the fit has not seen. Pairs of known models are no test for a
  new one: on the published matrix R² is 0.66 for new pairs and 0.58 for new models.
* The importance of a component is what its permutation costs on such pairs, in R². It is computed, not drawn: a
  component that is permuted is 0 or 1 as often as in all pairs, and the mean over both is exact.

Differences of 13 components have 8,192 patterns, so a fit on a million pairs is one on 8,192 weighted means.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.ensemble import GradientBoostingRegressor

from sat_engine.errors import NotComputableError

__all__ = ["ComponentImportance", "Importance", "explain"]

FOLDS = 10  # groups of models that are left out in turn
FEWEST = 8  # models: 28 pairs for 13 differences
MOST_COMPONENTS = 16  # 65,536 patterns

Floats: TypeAlias = NDArray[np.float64]
Ints: TypeAlias = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, slots=True)
class ComponentImportance:
    """What permuting a component's difference costs in R², over the left-out groups of models."""

    component: str
    importance: float  # mean over the groups
    least: float
    most: float
    varies: bool  # False: all models have the same value, so nothing can be said


@dataclass(frozen=True, kw_only=True, slots=True)
class Importance:
    """The components by importance, largest first; R² of the fit, of pairs new to it, and of models new to it."""

    components: tuple[ComponentImportance, ...]
    models: int
    pairs: int
    r2_fit: float
    r2_new_pairs: float
    r2_new_models: float


def explain(sat: ArrayLike, components: Sequence[Mapping[str, str | None]], *, seed: int = 0) -> Importance:
    """Return the importance of each component for the SAT (n, n) of n models; pairs that are NaN are left out.

    What cannot be told of a model (None) is a value of its own. The same seed gives the same answer.

    Raises NotComputableError for fewer than 8 models, or when all scores are equal.
    """
    scores = np.asarray(sat, dtype=np.float64)
    n = len(scores)
    if n < FEWEST:
        raise NotComputableError(f"The importance of components needs at least {FEWEST} models, and there are {n}.")
    names = sorted({name for each in components for name in each})
    if len(names) > MOST_COMPONENTS:
        raise ValueError(f"at most {MOST_COMPONENTS} components, not {len(names)}")
    pairs = _Pairs.of(scores, components, names)
    if len(pairs.sat) == 0 or pairs.sat.std() == 0:
        raise NotComputableError("All scores are equal or missing, so no component explains their differences.")
    rng = np.random.default_rng(seed)
    unseen = _leave_models_out(pairs, rng.permutation(n) % min(FOLDS, n), len(names), seed)
    costs = np.array([fold.costs for fold in unseen])
    ranked = sorted(range(len(names)), key=lambda j: (-round(float(costs[:, j].mean()), 12), names[j]))
    return Importance(
        components=tuple(
            ComponentImportance(
                component=names[j],
                importance=float(costs[:, j].mean()),
                least=float(costs[:, j].min()),
                most=float(costs[:, j].max()),
                varies=bool((pairs.code >> j & 1).any()),
            )
            for j in ranked
        ),
        models=n,
        pairs=len(pairs.sat),
        r2_fit=_r2_fit(pairs, len(names), seed),
        r2_new_pairs=_r2_new_pairs(pairs, len(names), rng, seed),
        r2_new_models=1 - sum(fold.squares for fold in unseen) / sum(fold.total for fold in unseen),
    )


@dataclass(frozen=True, slots=True)
class _Pairs:
    """Measured pairs (p,): the two models' positions, bit j set where component j differs, and SAT."""

    one: Ints
    other: Ints
    code: Ints
    sat: Floats

    @classmethod
    def of(cls, sat: Floats, components: Sequence[Mapping[str, str | None]], names: Sequence[str]) -> "_Pairs":
        one, other = np.triu_indices(len(sat), 1)
        measured = ~np.isnan(sat[one, other])
        one, other = one[measured], other[measured]
        code = np.zeros(len(one), dtype=np.int64)
        for j, name in enumerate(names):
            _, values = np.unique([f"{each.get(name)!r}" for each in components], return_inverse=True)
            code |= (values[one] != values[other]).astype(np.int64) << j
        return cls(one, other, code, sat[one, other])

    def where(self, chosen: NDArray[np.bool_]) -> "_Pairs":
        return _Pairs(self.one[chosen], self.other[chosen], self.code[chosen], self.sat[chosen])


@dataclass(frozen=True, slots=True)
class _Fold:
    """A group of models left out: squared errors on its pairs, their total, and what each component costs in R²."""

    squares: float
    total: float
    costs: Floats


class _Sums:
    """Pairs by their pattern (2^c,): how many, the sum of SAT and of its square."""

    def __init__(self, pairs: _Pairs, c: int) -> None:
        self.n = np.bincount(pairs.code, minlength=2**c).astype(np.float64)
        self.sat = np.bincount(pairs.code, weights=pairs.sat, minlength=2**c)
        self.squared = float((pairs.sat**2).sum())

    def squares(self, predicted: Floats) -> float:
        """Return the sum of squared errors of a prediction for each pattern."""
        return float(self.squared - 2 * (predicted * self.sat).sum() + (predicted**2 * self.n).sum())

    def squares_permuted(self, predicted: Floats, j: int) -> float:
        """Return its expectation when component j is permuted among the pairs."""
        patterns = np.arange(len(self.n))
        differs = patterns >> j & 1
        share = float((self.n * differs).sum() / self.n.sum())
        without, with_ = (self.squares(predicted[each]) for each in (patterns & ~(1 << j), patterns | 1 << j))
        return (1 - share) * without + share * with_


def _fit(pairs: _Pairs, c: int, seed: int) -> Floats:
    """Return the fitted SAT of each pattern, (2^c,)."""
    sums = _Sums(pairs, c)
    seen = np.flatnonzero(sums.n)
    bits = np.arange(2**c)[:, None] >> np.arange(c) & 1
    model = GradientBoostingRegressor(random_state=seed)
    model.fit(bits[seen], sums.sat[seen] / sums.n[seen], sample_weight=sums.n[seen])
    fitted: Floats = model.predict(bits)
    return fitted


def _leave_models_out(pairs: _Pairs, group: Ints, c: int, seed: int) -> list[_Fold]:
    folds = []
    for each in range(int(group.max()) + 1):
        unseen = (group[pairs.one] == each) | (group[pairs.other] == each)
        if unseen.all() or not unseen.any():
            continue
        predicted, test = _fit(pairs.where(~unseen), c, seed), pairs.where(unseen)
        sums, total = _Sums(test, c), float(((test.sat - pairs.sat.mean()) ** 2).sum())
        squares = sums.squares(predicted)
        costs = np.array([sums.squares_permuted(predicted, j) - squares for j in range(c)])
        folds.append(_Fold(squares, total, costs / total if total else costs * 0.0))
    if not folds:
        raise NotComputableError("Too few pairs are measured to leave models out: wait until there are more.")
    return folds


def _r2_fit(pairs: _Pairs, c: int, seed: int) -> float:
    return 1 - _Sums(pairs, c).squares(_fit(pairs, c, seed)) / float(((pairs.sat - pairs.sat.mean()) ** 2).sum())


def _r2_new_pairs(pairs: _Pairs, c: int, rng: np.random.Generator, seed: int) -> float:
    """Return R² of five groups of pairs, each left out of a fit."""
    group, squares = rng.permutation(len(pairs.sat)) % 5, 0.0
    for each in range(5):
        test = pairs.where(group == each)
        if len(test.sat):
            squares += _Sums(test, c).squares(_fit(pairs.where(group != each), c, seed))
    return 1 - squares / float(((pairs.sat - pairs.sat.mean()) ** 2).sum())
