"""The whole matrix, row by row."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from registry.reads.scores import Obtained
from registry.reads.snapshot import Snapshot


@dataclass(frozen=True, kw_only=True, slots=True)
class Matrix:
    """SAT between all members of a snapshot, by name; the diagonal is self-fooling."""

    models: tuple[str, ...]
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

    def rows(self) -> Iterator[tuple[str, list[float | None], list[Obtained | None]]]:
        """Each model's name, its SAT with every model (None where there is none), and how each was obtained."""
        cells = self._snapshot.cells
        for name, row in zip(self.models, self._rows, strict=True):
            sat = [None if np.isnan(value) else value for value in cells.sat[row, self._rows].tolist()]
            both = cells.both[row, self._rows].tolist()
            n = cells.n[row, self._rows].tolist()
            yield name, sat, [_obtained(*counts) for counts in zip(n, both, strict=True)]


def read_matrix(snapshot: Snapshot) -> Matrix:
    """The matrix of all members, however much of it is measured."""
    rows = [snapshot.row(model) for model in snapshot.members]
    return Matrix(
        models=tuple(model.name for model in snapshot.members),
        _rows=np.array([row for row in rows if row is not None], dtype=np.int64),
        _snapshot=snapshot,
    )


def _obtained(n: int, both: int) -> Obtained | None:
    if n < 0:
        return None
    return Obtained.MEASURED if both >= 0 else Obtained.ONE_SIDED
