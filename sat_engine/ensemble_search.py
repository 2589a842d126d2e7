"""The search behind an ensemble: the best n of m models under budgets and caps.

The value of a set S of n models is a sum over members and pairs,

    V(S) = sum of a_i for i in S + sum of b_ij for i < j in S
    a_i = weight / n * standardised accuracy,   b_ij = -(1 - weight) * 2 / (n (n - 1)) * standardised SAT

so small zoos are enumerated, and larger ones searched by greedy selection from several starts, each improved by swaps.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import chain, combinations
from math import comb
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float64]
Ints: TypeAlias = NDArray[np.int64]
Bools: TypeAlias = NDArray[np.bool_]

ENUMERATED = 20_000  # combinations at most: below 20 ms for five members
ENUMERATED_PAIRS = 1_000_000  # terms of their values at most: 198 of 200 models have few combinations, but long ones
STARTS = 8  # models of each kind that a greedy selection starts from
LEAST_GAIN = 1e-12  # a swap has to beat rounding, or two equal sets could be swapped for ever


@dataclass(frozen=True, kw_only=True, slots=True)
class Budget:
    """A bound on the sum of the members' costs."""

    name: str
    cost: Ints  # (m,)
    limit: int

    def least(self, n: int, included: Ints) -> int:
        """Return the least sum that n models with these included can have."""
        rest = np.sort(np.delete(self.cost, included))
        return int(self.cost[included].sum() + rest[: n - len(included)].sum())

    def shortfall(self, n: int, included: Ints) -> str | None:
        """Return why the budget alone rules out every n models, or None."""
        least = self.least(n, included)
        return None if least <= self.limit else f"{self} ({n} members need at least {least:,})"

    def __str__(self) -> str:
        return f"{self.name} = {self.limit:,}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Cap:
    """A bound on the number of members of one group."""

    name: str
    group: Ints  # (m,), -1 for a model in no group
    limit: int

    def shortfall(self, n: int, included: Ints) -> str | None:
        """Return why the cap alone rules out every n models, or None."""
        grouped = self.group >= 0
        room = int((~grouped).sum() + np.minimum(np.bincount(self.group[grouped]), self.limit).sum())
        chosen = self.group[included]
        crowded = np.bincount(chosen[chosen >= 0], minlength=1).max() > self.limit
        if crowded:
            return f"{self} (the models to include exceed it)"
        return None if room >= n else f"{self} (it allows {room} members)"

    def __str__(self) -> str:
        return f"{self.name} = {self.limit}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Problem:
    """m models, of which n are wanted. Equal values go to the smaller positions."""

    n: int
    included: Ints  # positions that must be members
    accuracy: Floats  # (m,) standardised
    sat: Floats  # (m, m) complete, raw
    sat_mean: float
    sat_sd: float
    weight: float  # of accuracy, in [0, 1]
    budgets: tuple[Budget, ...] = ()
    caps: tuple[Cap, ...] = ()

    @property
    def linear(self) -> Floats:
        """Return a, (m,)."""
        return self.accuracy * (self.weight / self.n)

    def pairs(self, members: Ints) -> Floats:
        """Return b of each member with all models, (len(members), m); 0 with itself."""
        if self.n == 1 or self.sat_sd == 0:
            return np.zeros((len(members), len(self.accuracy)))
        scale = -(1 - self.weight) * 2 / (self.n * (self.n - 1)) / self.sat_sd
        rows: Floats = (self.sat[members] - self.sat_mean) * scale
        rows[np.arange(len(members)), members] = 0.0
        return rows

    def value(self, members: Ints) -> float:
        """Return V of a set of n models."""
        return float(self.linear[members].sum() + self.pairs(members)[:, members].sum() / 2)

    def contributions(self, members: Ints) -> Floats:
        """Return what V loses when a member's own terms are taken out, (n,)."""
        lost: Floats = self.linear[members] + self.pairs(members)[:, members].sum(axis=1)
        return lost

    def swaps(self, members: Ints) -> Floats:
        """Return the change of V when a member is replaced by another model, (n, m); -inf where not allowed."""
        pairs = self.pairs(members)
        change: Floats = (self.linear + pairs.sum(axis=0)) - pairs - self.contributions(members)[:, None]
        change[:, members] = -np.inf
        change[np.isin(members, self.included)] = -np.inf
        for budget in self.budgets:
            spent = budget.cost[members].sum() - budget.cost[members][:, None] + budget.cost
            change[spent > budget.limit] = -np.inf
        for cap in self.caps:
            group = cap.group[members]
            taken = (group[:, None] == cap.group).sum(axis=0) - (group[:, None] == cap.group)
            change[(taken >= cap.limit) & (cap.group >= 0)] = -np.inf
        return change


@dataclass(frozen=True, kw_only=True, slots=True)
class Solution:
    """The best set found."""

    members: Ints  # positions, ascending
    value: float
    exact: bool  # every combination was tried


def solve(problem: Problem) -> Solution | None:
    """Return the best n models, or None where no set meets the limits (for large zoos: where none was found)."""
    if can_enumerate(problem):
        return _enumerated(problem)
    found = [_improved(problem, members) for members in _greedy_starts(problem)]
    if not found:
        return None
    best = min(found, key=lambda members: (-round(problem.value(members), 12), members.tolist()))
    return Solution(members=best, value=problem.value(best), exact=False)


def can_enumerate(problem: Problem) -> bool:
    """Tell whether every combination can be tried."""
    free = len(problem.accuracy) - len(problem.included)
    sets = comb(free, problem.n - len(problem.included))
    return sets <= ENUMERATED and sets * problem.n**2 <= ENUMERATED_PAIRS


def binding(problem: Problem) -> list[str]:
    """Return the limits to blame when there is no solution, each as "name = limit (why)"."""
    limits: tuple[Budget | Cap, ...] = (*problem.budgets, *problem.caps)
    alone = [limit.shortfall(problem.n, problem.included) for limit in limits]
    if any(alone):
        return [reason for reason in alone if reason]
    together = [
        str(limit)
        for limit in limits
        if solve(
            replace(
                problem,
                budgets=tuple(budget for budget in problem.budgets if budget is not limit),
                caps=tuple(cap for cap in problem.caps if cap is not limit),
            )
        )
    ]
    return together or [str(limit) for limit in limits]


def _enumerated(problem: Problem) -> Solution | None:
    m, fixed = len(problem.accuracy), problem.included
    free = np.setdiff1d(np.arange(m), fixed)
    size = problem.n - len(fixed)
    flat = chain.from_iterable(combinations(free.tolist(), size))
    rows = np.fromiter(flat, dtype=np.int64).reshape(comb(len(free), size), size)
    sets = np.sort(np.hstack([np.tile(fixed, (len(rows), 1)), rows]), axis=1)
    sets = sets[_allowed(problem, sets)]
    if not len(sets):
        return None
    pairs = problem.pairs(np.arange(m))
    values = problem.linear[sets].sum(axis=1)
    for one, other in combinations(range(problem.n), 2):
        values += pairs[sets[:, one], sets[:, other]]
    best = sets[np.argmax(np.round(values, 12))]
    return Solution(members=best, value=problem.value(best), exact=True)


def _allowed(problem: Problem, sets: Ints) -> Bools:
    """Tell for each row of sets (s, n) whether it meets the limits."""
    allowed = np.ones(len(sets), dtype=np.bool_)
    for budget in problem.budgets:
        allowed &= budget.cost[sets].sum(axis=1) <= budget.limit
    for cap in problem.caps:
        group = cap.group[sets]
        for column in group.T:
            allowed &= ((group == column[:, None]).sum(axis=1) <= cap.limit) | (column < 0)
    return allowed


def _greedy_starts(problem: Problem) -> Iterator[Ints]:
    """Yield feasible sets: greedy from nothing, from the models that look best, and the cheapest for each budget."""
    alikeness = problem.sat.mean(axis=1)
    each = problem.linear - (1 - problem.weight) * (alikeness - problem.sat_mean) / (problem.n * (problem.sat_sd or 1))
    starts: dict[int, None] = {}
    for ranking in (each, problem.linear, -alikeness):
        starts |= dict.fromkeys(np.argsort(-ranking, kind="stable")[:STARTS].tolist())
    for first in (None, *starts):
        if (members := _greedy(problem, problem.linear, first)) is not None:
            yield members
    for budget in problem.budgets:
        if (members := _greedy(problem, -budget.cost.astype(np.float64), None, by_pairs=False)) is not None:
            yield members


def _greedy(problem: Problem, score: Floats, first: int | None, *, by_pairs: bool = True) -> Ints | None:
    """Return n members that begin with the included ones and `first`, each next one the best addition; or None."""
    members = problem.included.tolist()
    gain = score.copy()
    if by_pairs and members:
        gain += problem.pairs(problem.included).sum(axis=0)
    while len(members) < problem.n:
        allowed = _addable(problem, np.array(members, dtype=np.int64))
        if first is not None:
            if not allowed[first]:
                return None
            following, first = first, None
        elif allowed.any():
            following = int(np.argmax(np.where(allowed, gain, -np.inf)))
        else:
            return None
        members.append(following)
        if by_pairs:
            gain += problem.pairs(np.array([following]))[0]
    return np.sort(np.array(members, dtype=np.int64))


def _addable(problem: Problem, members: Ints) -> Bools:
    """Tell for each model whether it can join and leave every budget enough for the rest, (m,)."""
    allowed = np.ones(len(problem.accuracy), dtype=np.bool_)
    allowed[members] = False
    wanted = problem.n - len(members)
    for cap in problem.caps:
        taken = (cap.group[members][:, None] == cap.group).sum(axis=0)
        allowed &= (taken < cap.limit) | (cap.group < 0)
    for budget in problem.budgets:
        # the cheapest completion: the model itself with the wanted - 1 cheapest others
        cheapest = np.sort(budget.cost[allowed])[:wanted]
        if len(cheapest) < wanted:
            return np.zeros_like(allowed)
        spent = budget.cost[members].sum() + cheapest[:-1].sum() + np.maximum(budget.cost, cheapest[-1])
        allowed &= spent <= budget.limit
    return allowed


def _improved(problem: Problem, members: Ints) -> Ints:
    """Return the set after swapping members, best swap first, until no swap raises its value."""
    while True:
        change = problem.swaps(members)
        leaving, joining = np.unravel_index(np.argmax(change), change.shape)
        if change[leaving, joining] <= LEAST_GAIN:
            return members
        members = np.sort(np.append(np.delete(members, leaving), joining))
