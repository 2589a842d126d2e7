"""Which transfers fool their target more often than random noise of the same size does."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, Integer, Row, Select, func, select
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.sql import column, literal

from registry.reads.solo import NOT_ATTACKED, NetworkBits, SelfFooling
from registry.reads.zoo import Comparison
from registry.tables import TransferRow
from sat_engine.scores import MISSING, above_noise_counts

ROWS_AT_ONCE = 20_000  # of some 100 to 6,000 bytes each

Ids = NDArray[np.int64]
Counts = NDArray[np.integer]
Packed = NDArray[np.uint8]


def certainly_above(fooled: Counts, n_noise_fooled: Counts, n: Counts) -> NDArray[np.bool_]:
    """True where no arrangement of these marginal counts could fail the test, so the bits need not be read.

    The test is hardest to pass with as many noise-fooled images as can be, none of them fooled by the transfer too.
    """
    return above_noise_counts(fooled, np.minimum(n_noise_fooled, n), n)


@dataclass(frozen=True, slots=True)
class NoiseTest:
    """Decides directed cells of one comparison, reading bits only where the counts leave the answer open.

    Where noise is no measure of the comparison's attack, nothing can be told.
    """

    connection: Connection
    comparison: Comparison
    attacks: Mapping[int, SelfFooling]
    bits: Mapping[int, NetworkBits]

    def decide(self, sources: Ids, targets: Ids, rungs: Counts, n: Counts, fooled: Counts) -> NDArray[np.int8]:
        """1 where a cell (k,) rises above its target's noise, 0 where not, MISSING where that cannot be told yet.

        sources and targets are network ids; the counts cover the first `rungs` rungs. A cell with a rung on which its
        target has no noise bits yet cannot be told; its pair changes again after them.
        """
        networks, which = np.unique(targets, return_inverse=True)
        attacked = [self.attacks.get(each, NOT_ATTACKED) for each in networks.tolist()]
        noise = np.array([each.n_noise_fooled for each in attacked], dtype=np.int64)[which]
        attacked_rungs = np.array([each.rungs for each in attacked], dtype=np.int64)[which]
        verdict = np.full(len(sources), MISSING, dtype=np.int8)
        if not self.comparison.noise_is_a_measure:
            return verdict
        open_ = (fooled >= 0) & (attacked_rungs >= rungs)
        sure = open_ & certainly_above(np.maximum(fooled, 0), noise, n)
        verdict[sure] = 1
        unsure = np.flatnonzero(open_ & ~sure)
        if len(unsure):
            verdict[unsure] = self._read(sources[unsure], targets[unsure], rungs[unsure])
        return verdict

    def _read(self, sources: Ids, targets: Ids, rungs: Counts) -> NDArray[np.bool_]:
        where = {pair: index for index, pair in enumerate(zip(sources.tolist(), targets.tolist(), strict=True))}
        # rows: fooled by the transfer alone, by noise alone, images
        counts = np.zeros((3, len(sources)), dtype=np.int64)
        query = _transfers(self.comparison.id, sources, targets)
        with self.connection.execute(query, execution_options={"yield_per": ROWS_AT_ONCE}) as rows:
            for partition in rows.partitions():
                for rung in (0, 1):
                    cells = [row for row in partition if row.rung == rung < rungs[where[row.source_id, row.target_id]]]
                    if cells:
                        counts[:, [where[row.source_id, row.target_id] for row in cells]] += self._count(cells, rung)
        return above_noise_counts(*counts)

    def _count(self, cells: list[Row[int, int, int, bytes]], rung: int) -> NDArray[np.int64]:
        """Counts (3, k) of cells of one rung: fooled by the transfer alone, by noise alone, common images."""
        fooled = _stack([row.fooled for row in cells])
        common = _stack([self.bits[row.source_id].correct[rung] for row in cells])
        common = common & _stack([self.bits[row.target_id].correct[rung] for row in cells])
        noise = common & _stack([self.bits[row.target_id].noise[rung] for row in cells])
        return np.stack([_ones(fooled & ~noise), _ones(noise & ~fooled), _ones(common)])


def _transfers(comparison_id: int, sources: Ids, targets: Ids) -> Select[int, int, int, bytes]:
    """The recorded rungs of these directed cells."""
    wanted = (
        func.unnest(literal(sources.tolist(), ARRAY(Integer)), literal(targets.tolist(), ARRAY(Integer)))
        .table_valued(column("source", Integer), column("target", Integer))
        .render_derived()
    )
    return (
        select(TransferRow.source_id, TransferRow.target_id, TransferRow.rung, TransferRow.fooled)
        .join(wanted, (TransferRow.source_id == wanted.c.source) & (TransferRow.target_id == wanted.c.target))
        .where(TransferRow.comparison_id == comparison_id)
    )


def _stack(packed: list[bytes]) -> Packed:
    return np.frombuffer(b"".join(packed), dtype=np.uint8).reshape(len(packed), -1)


def _ones(packed: Packed) -> NDArray[np.int64]:
    counts: NDArray[np.int64] = np.bitwise_count(packed).sum(axis=1, dtype=np.int64)
    return counts
