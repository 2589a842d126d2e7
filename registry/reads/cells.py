"""The scores of a comparison as arrays, brought up to date from the pairs that changed."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import (
    ColumnElement,
    Connection,
    Integer,
    LargeBinary,
    and_,
    func,
    literal,
    literal_column,
    select,
    true,
)
from sqlalchemy.dialects.postgresql import ARRAY

from registry.reads.noise import NoiseTest
from registry.reads.solo import SelfFooling
from registry.tables import PairRow
from sat_engine.scores import MISSING, score_many

NETWORKS_AT_ONCE = 100  # of which each brings the pairs that it is the first of, 26 bytes each
ARRAYS = ("n", "fooled", "both", "rungs", "sat", "above_noise")
# The database packs its rows, so that a million of them are a few strings here and no million tuples.
PACKED = np.dtype(
    [("a", ">i4"), ("b", ">i4"), ("rungs", ">i2"), ("n", ">i4"), ("ab", ">i4"), ("ba", ">i4"), ("both", ">i4")]
)

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
        if self.networks.tolist() == list(networks):
            return replace(self, **{name: getattr(self, name).copy() for name in ARRAYS})
        copy = self.empty(networks)
        _, here, there = np.intersect1d(self.networks, copy.networks, return_indices=True)
        for name in ARRAYS:
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
    wanted: list[ColumnElement[bool]] = [PairRow.version > known_version]
    if newcomers:
        # as two look-ups of the primary key each: an `or` would read the whole table
        first, second = (_one_of(column, newcomers) for column in (PairRow.a_id, PairRow.b_id))
        wanted += [and_(first, _one_of(PairRow.b_id, networks)), and_(second, _one_of(PairRow.a_id, networks))]
    for condition in wanted:
        for rows in read_pairs(connection, noise.comparison.id, condition):
            _set_pairs(cells, rows, noise)
    return cells


def read_pairs(
    connection: Connection, comparison_id: int, condition: ColumnElement[bool] | None = None
) -> Iterator[NDArray[Any]]:
    """The pairs that meet the condition (None: all), in parts, each a `PACKED` array; MISSING where not measured."""
    four_bytes = (
        PairRow.n,
        *(func.coalesce(each, MISSING) for each in (PairRow.fooled_ab, PairRow.fooled_ba, PairRow.fooled_both)),
    )
    packed = [
        *(func.int4send(each, type_=LargeBinary) for each in (PairRow.a_id, PairRow.b_id)),
        func.int2send(PairRow.rungs, type_=LargeBinary),
        *(func.int4send(each, type_=LargeBinary) for each in four_bytes),
    ]
    row: ColumnElement[bytes] = packed[0]
    for each in packed[1:]:
        row = row.concat(each)
    query = (
        select(func.string_agg(row, literal_column("''::bytea")))
        .where(PairRow.comparison_id == comparison_id, true() if condition is None else condition)
        .group_by(PairRow.a_id)
    )
    with connection.execute(query, execution_options={"yield_per": NETWORKS_AT_ONCE}) as result:
        for partition in result.scalars().partitions():
            yield np.frombuffer(b"".join(partition), dtype=PACKED)


def _one_of(column: Any, values: Sequence[int]) -> ColumnElement[bool]:
    # one parameter, whatever the number of values
    found: ColumnElement[bool] = column == func.any(literal(list(values), ARRAY(Integer)))
    return found


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


def _set_pairs(cells: Cells, rows: NDArray[Any], noise: NoiseTest) -> None:
    """Enter `PACKED` rows."""
    rows = rows[np.isin(rows["a"], cells.networks) & np.isin(rows["b"], cells.networks)]
    a, b = (np.searchsorted(cells.networks, rows[column]) for column in ("a", "b"))
    for array, column in ((cells.rungs, "rungs"), (cells.n, "n"), (cells.both, "both")):
        array[a, b] = array[b, a] = rows[column]
    cells.fooled[a, b], cells.fooled[b, a] = rows["ab"], rows["ba"]
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
