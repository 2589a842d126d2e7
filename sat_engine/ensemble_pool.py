"""Which models can be considered for an ensemble at all, and what it takes for a request to be impossible."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sat_engine.errors import InfeasibleError


@dataclass(frozen=True, kw_only=True, slots=True)
class Candidate:
    """What choosing may know of a model: nothing of the report part."""

    id: str
    accuracy: float | None  # top-1 in [0, 1] on the select part; None: not evaluated yet
    parameters: int | None = None
    macs: int | None = None  # multiply-accumulates of one image
    family: str | None = None
    cluster: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class LeftOut:
    """A model that could not be considered, and why."""

    id: str
    reason: str


class Zoo:
    """All candidates in the order of their ids, so that the order they come in changes nothing."""

    def __init__(self, candidates: Sequence[Candidate], sat: ArrayLike) -> None:
        matrix = np.asarray(sat, dtype=np.float64)
        if matrix.shape != (len(candidates), len(candidates)):
            raise ValueError(f"{len(candidates)} candidates, but SAT has the shape {matrix.shape}")
        ids = [candidate.id for candidate in candidates]
        order = sorted(range(len(candidates)), key=ids.__getitem__)
        self.candidates = [candidates[i] for i in order]
        self.position = {candidate.id: i for i, candidate in enumerate(self.candidates)}
        if len(self.position) != len(candidates):
            raise ValueError("each candidate needs an id of its own")
        in_order = order == list(range(len(order)))
        self.sat: NDArray[np.float64] = matrix.copy() if in_order else matrix[np.ix_(order, order)]
        np.fill_diagonal(self.sat, 0.0)
        self.missing = np.isnan(self.sat)
        self.complete = not self.missing.any()
        known: NDArray[np.float64] = self.sat if self.complete else np.where(self.missing, 0.0, self.sat)
        count = max(1, len(order) * (len(order) - 1) - int(self.missing.sum()))
        self.sat_mean = float(known.sum() / count)
        self.sat_sd = float(np.sqrt(max(0.0, float(np.vdot(known, known)) / count - self.sat_mean**2)))
        if self.sat_sd < 1e-9:  # noqa: PLR2004 - equal scores, up to rounding
            self.sat_sd = 0.0
        self.accuracy = np.array([np.nan if c.accuracy is None else c.accuracy for c in self.candidates])

    def standardised_accuracy(self) -> NDArray[np.float64]:
        """Return accuracy less its mean over its standard deviation over all evaluated models, (m,)."""
        evaluated = self.accuracy[~np.isnan(self.accuracy)]
        centred = self.accuracy - (evaluated.mean() if len(evaluated) else 0.0)
        sd = float(evaluated.std()) if len(evaluated) else 0.0
        return centred / sd if sd > 1e-12 else centred * 0.0  # noqa: PLR2004 - equal accuracies, up to rounding


class Pool:
    """The candidates that are still considered; each step removes some and names what it was for."""

    def __init__(self, zoo: Zoo, n: int, *, include: Collection[str], exclude: Collection[str]) -> None:
        self.zoo, self.n = zoo, n
        self.left_out: list[LeftOut] = []
        if n < 1:
            raise InfeasibleError(f"n = {n}: an ensemble needs at least 1 member.")
        if unknown := sorted({*include, *exclude} - set(zoo.position)):
            raise InfeasibleError(f"include or exclude names no model that is here: {', '.join(unknown)}.")
        if both := sorted(set(include) & set(exclude)):
            raise InfeasibleError(f"include and exclude both name {', '.join(both)}.")
        if len(set(include)) > n:
            raise InfeasibleError(f"include names {len(set(include))} models, more than n = {n}.")
        self.included = {zoo.position[name] for name in include}
        self.kept = list(range(len(zoo.candidates)))
        self._remove(set(), "n")
        self._remove({zoo.position[name] for name in exclude}, "exclude")

    def keep_evaluated(self) -> None:
        """Leave out what has no accuracy on the select part."""
        self._leave_out({i for i in self.kept if np.isnan(self.zoo.accuracy[i])}, "it is not evaluated yet")

    def keep_accurate(self, min_accuracy: float | None) -> None:
        """Remove what is less accurate than asked."""
        if min_accuracy is not None:
            weak = {i for i in self.kept if self.zoo.accuracy[i] < min_accuracy}
            self._remove(weak, f"min_accuracy = {min_accuracy:g}")

    def keep_sized(self, name: str, sizes: Sequence[int | None]) -> None:
        """Leave out what a budget cannot count."""
        self._leave_out({i for i in self.kept if sizes[i] is None}, f"its {name} are not known, and there is a budget")

    def keep_measured(self) -> None:
        """Leave out models until no pair among the others is missing: those with included ones, then the worst."""
        if self.zoo.complete:
            return
        missing = self.zoo.missing[np.ix_(self.kept, self.kept)]
        lacking = missing.sum(axis=1)
        if not lacking.any():
            return
        included = np.isin(self.kept, sorted(self.included))
        if missing[np.ix_(included, included)].any():
            raise InfeasibleError("include names models whose pair has no score yet: wait until it is measured.")
        accuracy = self.zoo.accuracy[self.kept]
        gone = ~included & missing[:, included].any(axis=1)
        remaining = lacking - missing[:, gone].sum(axis=1)
        while (candidates := np.where(gone | included, 0, remaining)).any():
            # of equals the less accurate one goes, then the one with the later id
            worst = np.lexsort((np.arange(len(gone)), -accuracy, candidates))[-1]
            gone[worst] = True
            remaining = remaining - missing[:, worst]
        for i in np.flatnonzero(gone):
            reason = f"{lacking[i]} of its {len(self.kept) - 1} pairs have no score yet"
            self.left_out.append(LeftOut(id=self.zoo.candidates[self.kept[i]].id, reason=reason))
        self._remove({self.kept[i] for i in np.flatnonzero(gone)}, "pairs without a score")

    def sat(self) -> NDArray[np.float64]:
        """Return the SAT of the kept models, the mean on the diagonal."""
        whole = len(self.kept) == len(self.zoo.candidates)
        matrix: NDArray[np.float64] = self.zoo.sat if whole else self.zoo.sat[np.ix_(self.kept, self.kept)]
        np.fill_diagonal(matrix, self.zoo.sat_mean)
        return matrix

    def _leave_out(self, positions: set[int], reason: str) -> None:
        self.left_out += [LeftOut(id=self.zoo.candidates[i].id, reason=reason) for i in sorted(positions)]
        self._remove(positions, f"models left out ({reason})" if positions else "")

    def _remove(self, positions: set[int], constraint: str) -> None:
        """Take these out of the pool, or raise where that leaves too few or hits a model that must be included."""
        if hit := sorted(positions & self.included):
            names = ", ".join(self.zoo.candidates[i].id for i in hit)
            raise InfeasibleError(f"include names {names}, which {constraint} rules out.")
        self.kept = [i for i in self.kept if i not in positions]
        if len(self.kept) < self.n:
            raise InfeasibleError(
                f"n = {self.n} members cannot be had: {constraint} leaves {len(self.kept)} models of "
                f"{len(self.zoo.candidates)}. Ask for fewer members, or relax it."
                if constraint != "n"
                else f"n = {self.n} members cannot be had: there are only {len(self.kept)} models."
            )
