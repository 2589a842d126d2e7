"""The whole matrix, row by row."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from registry.reads.scores import Obtained
from registry.reads.snapshot import Snapshot

# what the codes of `Matrix.obtained` mean
OBTAINED: tuple[Obtained | None, ...] = (None, Obtained.MEASURED, Obtained.ONE_SIDED)

Ints = NDArray[np.int32]


@dataclass(frozen=True, kw_only=True, slots=True)
class Matrix:
    """What is recorded between all members of a snapshot, by name; the diagonal is self-fooling.

    Rows come one at a time, each (models,): MISSING (-1) in counts and NaN in SAT where nothing is recorded.
    """

    comparison: str
    version: int
    models: tuple[str, ...]
    networks: tuple[str, ...]  # digests
    _rows: NDArray[np.int64]
    _snapshot: Snapshot

    @property
    def missing(self) -> int:
        """The pairs of models that are not measured."""
        ids, counts = np.unique(self._rows, return_counts=True)
        empty = self._snapshot.cells.n[np.ix_(ids, ids)] < 0
        pairs = np.triu(np.outer(counts, counts) * empty, 1).sum()
        # models that share a network are a pair each, whose score is the diagonal's
        return int(pairs + (np.diag(empty) * counts * (counts - 1) // 2).sum())

    def sat(self, index: int) -> NDArray[np.float64]:
        """SAT of one model with each."""
        sat: NDArray[np.float64] = self._snapshot.cells.sat[self._rows[index], self._rows]
        return sat

    def obtained(self, index: int) -> NDArray[np.int8]:
        """How each was come by: a place in OBTAINED."""
        both = self._snapshot.cells.both[self._rows[index], self._rows]
        return np.where(self.n(index) < 0, 0, np.where(both >= 0, 1, 2)).astype(np.int8)

    def n(self, index: int) -> Ints:
        """The images that both classify correctly."""
        n: Ints = self._snapshot.cells.n[self._rows[index], self._rows]
        return n

    def fooled(self, index: int) -> Ints:
        """How many of this model's adversarial images fool each."""
        fooled: Ints = self._snapshot.cells.fooled[self._rows[index], self._rows]
        return fooled

    def fooled_by(self, index: int) -> Ints:
        """How many of each one's adversarial images fool this model."""
        fooled: Ints = self._snapshot.cells.fooled[self._rows, self._rows[index]]
        return fooled

    def rung(self, index: int) -> NDArray[np.int8]:
        """The last rung that the counts cover."""
        rungs: NDArray[np.int8] = self._snapshot.cells.rungs[self._rows[index], self._rows]
        return rungs - np.int8(1)

    def pair_row(self, index: int) -> tuple[NDArray[np.float64] | Ints | NDArray[np.int8], ...]:
        """SAT, obtained, n, fooled, fooled_by and rung of one model with itself and those that follow it."""
        columns = (self.sat, self.obtained, self.n, self.fooled, self.fooled_by, self.rung)
        return tuple(column(index)[index:] for column in columns)


def read_matrix(snapshot: Snapshot) -> Matrix:
    """The matrix of all members, however much of it is measured."""
    return Matrix(
        comparison=snapshot.comparison.name,
        version=snapshot.comparison.version,
        models=tuple(model.name for model in snapshot.members),
        networks=tuple(model.network.digest for model in snapshot.members if model.network),
        _rows=snapshot.rows,
        _snapshot=snapshot,
    )
