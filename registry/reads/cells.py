"""The scores of a comparison as arrays, brought up to date from the pairs that changed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Self

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, func, or_, select

from registry.reads.noise import NoiseTest
from registry.reads.solo import SelfFooling
from registry.tables import PairRow
from sat_engine.scores import MISSING, score_many

ROWS_AT_ONCE = 50_000

Ints = NDArray[np.int32]


@dataclass(frozen=True, kw_only=True, slots=True)
class Cells:
    """Counts and scores of m networks; the diagonal is self-fooling. Never changed in place: readers hold it.

    networks: ids (m,), ascending; the others (m, m). n, both, rungs and sat are symmetric; fooled[i, j] counts the
    images of i that fool j. MISSING (-1) in counts and NaN in sat where nothing is recorded; n = 0 has no score.
    above_noise[i, j]: 1 where that is more than random noise does to j, 0 where not, MISSING where not known yet.
    """

    networks: NDArray[np.int64]
    n: Ints
    fooled: Ints
    both: Ints
    rungs: NDArray[np.int8]
    sat: NDArray[np.float64]
    above_noise: NDArray[np.int8]

    @classmethod
    def empty(cls, networks: Sequence[int]) -> Self:
        """Nothing recorded between these networks."""
        shape = (len(networks), len(networks))
        return cls(
            networks=np.array(networks, dtype=np.int64),
            n=np.full(shape, MISSING, dtype=np.int32),
            fooled=np.full(shape, MISSING, dtype=np.int32),
            both=np.full(shape, MISSING, dtype=np.int32),
            rungs=np.zeros(shape, dtype=np.int8),
            sat=np.full(shape, np.nan),
            above_noise=np.full(shape, MISSING, dtype=np.int8),
        )

    def copied_to(self, networks: Sequence[int]) -> Self:
        """A copy for other networks: what both know is kept, the rest is empty."""
        copy = self.empty(networks)
        _, here, there = np.intersect1d(self.networks, copy.networks, return_indices=True)
        for name in ("n", "fooled", "both", "rungs", "sat", "above_noise"):
            getattr(copy, name)[np.ix_(there, there)] = getattr(self, name)[np.ix_(here, here)]
        return copy


def read_cells(
    connection: Connection,
    networks: Sequence[int],
    noise: NoiseTest,
    *,
    previous: Cells | None,
    known_version: int,
) -> Cells:
    """The cells between these networks: `previous` and whatever changed since known_version.

    A network that `previous` lacks may have old pairs (a restored model, or one more name for a deleted model's
    network): all of its pairs are read.
    """
    cells = previous.copied_to(networks) if previous else Cells.empty(networks)
    _set_diagonal(cells, noise.attacks)
    newcomers = sorted(set(networks) - set(previous.networks.tolist())) if previous else []
    query = select(
        PairRow.a_id,
        PairRow.b_id,
        PairRow.rungs,
        PairRow.n,
        func.coalesce(PairRow.fooled_ab, MISSING),
        func.coalesce(PairRow.fooled_ba, MISSING),
        func.coalesce(PairRow.fooled_both, MISSING),
    ).where(PairRow.comparison_id == noise.comparison_id)
    if previous:
        query = query.where(
            or_(PairRow.version > known_version, PairRow.a_id.in_(newcomers), PairRow.b_id.in_(newcomers))
        )
    with connection.execute(query, execution_options={"yield_per": ROWS_AT_ONCE}) as rows:
        for partition in rows.partitions():
            numbers = np.fromiter(chain.from_iterable(partition), dtype=np.int64, count=7 * len(partition))
            _set_pairs(cells, numbers.reshape(-1, 7), noise)
    return cells


def _set_diagonal(cells: Cells, attacks: Mapping[int, SelfFooling]) -> None:
    index = np.array([i for i, network in enumerate(cells.networks.tolist()) if network in attacks], dtype=np.int64)
    if not len(index):
        return
    own = [attacks[network] for network in cells.networks[index].tolist()]
    cells.n[index, index] = [each.attacked for each in own]
    cells.rungs[index, index] = [each.rungs for each in own]
    cells.fooled[index, index] = cells.both[index, index] = [each.n_fooled for each in own]
    cells.above_noise[index, index] = 1
    _set_scores(cells, index, index)


def _set_pairs(cells: Cells, rows: NDArray[np.int64], noise: NoiseTest) -> None:
    """Enter pair rows (k, 7): a_id, b_id, rungs, n, fooled a→b, b→a, both ways."""
    rows = rows[np.isin(rows[:, 0], cells.networks) & np.isin(rows[:, 1], cells.networks)]
    a, b = (np.searchsorted(cells.networks, rows[:, column]) for column in (0, 1))
    for array, column in ((cells.rungs, 2), (cells.n, 3), (cells.both, 6)):
        array[a, b] = array[b, a] = rows[:, column]
    cells.fooled[a, b], cells.fooled[b, a] = rows[:, 4], rows[:, 5]
    _set_scores(cells, a, b)
    source, target = np.concatenate([a, b]), np.concatenate([b, a])
    cells.above_noise[source, target] = noise.decide(
        cells.networks[source],
        cells.networks[target],
        cells.rungs[source, target],
        cells.n[source, target],
        cells.fooled[source, target],
    )


def _set_scores(cells: Cells, a: NDArray[np.int64], b: NDArray[np.int64]) -> None:
    scores = score_many(cells.n[a, b], cells.fooled[a, b], cells.fooled[b, a], cells.both[a, b])
    cells.sat[a, b] = cells.sat[b, a] = scores.sat
