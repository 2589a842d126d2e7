"""Which models to combine: accurate ones that adversarial images do not fool together."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sat_engine.ensemble_pool import Candidate, LeftOut, Pool, Zoo
from sat_engine.ensemble_search import Budget, Cap, Problem, Solution, binding, can_enumerate, solve
from sat_engine.errors import InfeasibleError

__all__ = ["Candidate", "Ensemble", "LeftOut", "Member", "Objective", "Swap", "Zoo", "recommend", "recommend_from"]

SWAPS = 3  # replacements shown for each member


class Objective(StrEnum):
    """What an ensemble is chosen for."""

    DIVERSE = "diverse"  # the least mean pairwise SAT
    ACCURACY = "accuracy"  # the greatest mean accuracy
    BLEND = "blend"  # both


@dataclass(frozen=True, kw_only=True, slots=True)
class Swap:
    """Another model in a member's place."""

    id: str
    value_change: float  # of the ensemble's value; 0 or less, since the search takes every better one


@dataclass(frozen=True, kw_only=True, slots=True)
class Member:
    """A chosen model."""

    id: str
    accuracy: float
    gain: float  # what the ensemble's value owes to it: its accuracy's share less its pairs' share
    swaps: tuple[Swap, ...]  # best first; none for a member that had to be included


@dataclass(frozen=True, kw_only=True, slots=True)
class Ensemble:
    """A recommendation. Members come by gain, largest first."""

    members: tuple[Member, ...]
    value: float  # weight * mean standardised accuracy - (1 - weight) * mean standardised pairwise SAT
    weight: float
    mean_accuracy: float
    mean_sat: float | None  # over the members' pairs; None for one member
    pairwise_sat: NDArray[np.float64]  # (n, n) in the order of members, NaN on the diagonal
    parameters: int | None  # summed; None where a member's are not known
    macs: int | None
    left_out: tuple[LeftOut, ...]
    exact: bool  # every combination was tried


def recommend(
    candidates: Sequence[Candidate],
    sat: ArrayLike,
    n: int,
    *,
    objective: Objective | str = Objective.BLEND,
    weight: float = 0.5,
    include: Collection[str] = (),
    exclude: Collection[str] = (),
    min_accuracy: float | None = None,
    max_parameters: int | None = None,
    max_macs: int | None = None,
    max_per_family: int | None = None,
    max_per_cluster: int | None = None,
) -> Ensemble:
    """Return the n models whose value is greatest under the limits, by SAT (m, m), symmetric, NaN where missing.

    Accuracy and SAT are standardised over all candidates, so that a limit does not change the exchange rate between
    them. `diverse` is weight 0, `accuracy` weight 1. Budgets bound the sum over the members. Members need a score for
    each of their pairs: the models that miss most of them are left out and named, as are those without accuracy or,
    under a budget, without a known size. Equal values go to the smaller ids; the order of candidates changes nothing.

    Raises InfeasibleError naming the constraint that binds.
    """
    return recommend_from(
        Zoo(candidates, sat),
        n,
        objective=objective,
        weight=weight,
        include=include,
        exclude=exclude,
        min_accuracy=min_accuracy,
        max_parameters=max_parameters,
        max_macs=max_macs,
        max_per_family=max_per_family,
        max_per_cluster=max_per_cluster,
    )


def recommend_from(
    zoo: Zoo,
    n: int,
    *,
    objective: Objective | str = Objective.BLEND,
    weight: float = 0.5,
    include: Collection[str] = (),
    exclude: Collection[str] = (),
    min_accuracy: float | None = None,
    max_parameters: int | None = None,
    max_macs: int | None = None,
    max_per_family: int | None = None,
    max_per_cluster: int | None = None,
) -> Ensemble:
    """As `recommend`, for a zoo that is asked more than once: making it costs more than the search."""
    share = {Objective.DIVERSE: 0.0, Objective.ACCURACY: 1.0, Objective.BLEND: weight}[Objective(objective)]
    if not 0 <= share <= 1:
        raise InfeasibleError(f"weight = {weight:g} is not between 0 (diversity alone) and 1 (accuracy alone).")
    sizes: dict[str, tuple[list[int | None], int | None]] = {
        "max_parameters": ([c.parameters for c in zoo.candidates], max_parameters),
        "max_macs": ([c.macs for c in zoo.candidates], max_macs),
    }
    groups: dict[str, tuple[Sequence[str | int | None], int | None]] = {
        "max_per_family": ([c.family for c in zoo.candidates], max_per_family),
        "max_per_cluster": ([c.cluster for c in zoo.candidates], max_per_cluster),
    }
    pool = Pool(zoo, n, include=include, exclude=exclude)
    pool.keep_evaluated()
    pool.keep_accurate(min_accuracy)
    for name, (size, limit) in sizes.items():
        if limit is not None:
            pool.keep_sized(name.removeprefix("max_"), size)
    pool.keep_measured()
    problem = Problem(
        n=n,
        included=np.array([i for i, kept in enumerate(pool.kept) if kept in pool.included], dtype=np.int64),
        accuracy=zoo.standardised_accuracy()[pool.kept],
        sat=pool.sat(),
        sat_mean=zoo.sat_mean,
        sat_sd=zoo.sat_sd,
        weight=share,
        budgets=tuple(_budget(name, size, limit, pool) for name, (size, limit) in sizes.items() if limit is not None),
        caps=tuple(_cap(name, group, limit, pool) for name, (group, limit) in groups.items() if limit is not None),
    )
    solution = solve(problem)
    if solution is None:
        raise _infeasible(problem)
    return _described([zoo.candidates[i] for i in pool.kept], problem, solution, tuple(pool.left_out))


def _budget(name: str, sizes: Sequence[int | None], limit: int, pool: Pool) -> Budget:
    return Budget(name=name, cost=np.array([sizes[i] or 0 for i in pool.kept], dtype=np.int64), limit=limit)


def _cap(name: str, groups: Sequence[str | int | None], limit: int, pool: Pool) -> Cap:
    """Return a cap whose groups are numbered; a model without a group (or with an empty name) is not counted."""
    numbers: dict[str | int, int] = {}
    of_kept = [groups[i] for i in pool.kept]
    group = [-1 if g is None or g == "" else numbers.setdefault(g, len(numbers)) for g in of_kept]
    return Cap(name=name, group=np.array(group, dtype=np.int64), limit=limit)


def _infeasible(problem: Problem) -> InfeasibleError:
    verb = "can meet" if can_enumerate(problem) else "were found to meet"
    return InfeasibleError(
        f"No {problem.n} of {len(problem.accuracy)} models {verb} {' and '.join(binding(problem))}. "
        "Relax it, or ask for fewer members."
    )


def _described(
    kept: Sequence[Candidate], problem: Problem, solution: Solution, left_out: tuple[LeftOut, ...]
) -> Ensemble:
    gains = problem.contributions(solution.members)
    order = np.lexsort((solution.members, -np.round(gains, 12)))
    members = solution.members[order]
    swaps = problem.swaps(members)
    chosen = [kept[i] for i in members]
    pairwise = problem.sat[np.ix_(members, members)].copy()
    np.fill_diagonal(pairwise, np.nan)
    accuracies = [float(c.accuracy) for c in chosen if c.accuracy is not None]
    return Ensemble(
        members=tuple(
            Member(id=c.id, accuracy=accuracy, gain=float(gain), swaps=_best_swaps(kept, change))
            for c, accuracy, gain, change in zip(chosen, accuracies, gains[order], swaps, strict=True)
        ),
        value=solution.value,
        weight=problem.weight,
        mean_accuracy=float(np.mean(accuracies)),
        mean_sat=float(np.nanmean(pairwise)) if problem.n > 1 else None,
        pairwise_sat=pairwise,
        parameters=_total([c.parameters for c in chosen]),
        macs=_total([c.macs for c in chosen]),
        left_out=left_out,
        exact=solution.exact,
    )


def _best_swaps(kept: Sequence[Candidate], change: NDArray[np.float64]) -> tuple[Swap, ...]:
    ranked = np.lexsort((np.arange(len(change)), -np.round(change, 12)))[:SWAPS]
    return tuple(Swap(id=kept[i].id, value_change=float(change[i])) for i in ranked if change[i] > -np.inf)


def _total(sizes: Sequence[int | None]) -> int | None:
    known = [size for size in sizes if size is not None]
    return sum(known) if len(known) == len(sizes) else None
