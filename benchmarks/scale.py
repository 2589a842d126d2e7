"""Measure the scheduler and the database as a zoo grows, with computations that take no time.

At each size the zoo is filled in bulk (benchmarks/large_zoo.py, every bit of every cell included), and then a few
models are registered through the real scheduler: jobs are claimed, pending cells found and results recorded by the
registry's own functions, one process doing all of it. So what is timed is what a worker pays beside its computing.

    python benchmarks/scale.py               1,300 models, 1.7 million cells of two rungs
    python benchmarks/scale.py --models 200  the same, short
"""

import argparse
import os
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from large_zoo import N_ATTACK, N_OTHER, PREFIX, RUNG_SIZES, LargeZoo, Stack, stack
from printing import machine, say, table
from sqlalchemy import text

from registry.database import Sessions, make_engine, make_sessions, transaction
from registry.jobs import Claim, claim, finish, finish_with, hold, more_urgent_waits, want
from registry.pending import pending_attacks, pending_cells, pending_evaluations
from registry.results import (
    AttackRecord,
    EvaluationResult,
    TransferRecord,
    record_attack,
    record_evaluation,
    record_transfer,
    want_measuring,
)
from registry.tables import ImageSetRow, JobKind, Lane, Part

SHARES = (0.08, 0.25, 0.5, 0.75, 1.0)  # of the largest size: where cells are timed
DISPATCH_TARGET_MS = 5.0
ARTIFACT = b"0" * 32  # the one that stands for all logits and images
PART_SIZES = {Part.SELECT: N_OTHER, Part.REPORT: N_OTHER}
CELL_BITS_BYTES = sum(-(-size // 8) for size in RUNG_SIZES)


@dataclass
class StubWorker:
    """Does what a compute worker does, with random bits for results."""

    sessions: Sessions
    jobs: Counter[JobKind] = field(default_factory=Counter)
    cells: int = 0
    target_loads: int = 0
    rng: np.random.Generator = field(default_factory=lambda: np.random.default_rng(1))

    def drain(self) -> None:
        """Work until nothing is queued."""
        tasks = {
            JobKind.EVALUATE: self._evaluate,
            JobKind.ATTACK: self._attack,
            JobKind.TRANSFERS: self._transfer,
        }
        while True:
            with self.sessions.begin() as session:
                claimed = claim(session, (Lane.COMPUTE,), 1, 60)
                image_set = session.get_one(ImageSetRow, 1)
            if claimed is None:
                return
            self.jobs[claimed.kind] += 1
            tasks[claimed.kind](claimed, image_set)

    def _evaluate(self, claimed: Claim, image_set: ImageSetRow) -> None:
        assert claimed.network_id is not None
        with self.sessions.begin() as session:
            missing = pending_evaluations(session, claimed.network_id, image_set)
        for part, rung in missing:
            size = RUNG_SIZES[rung] if part is Part.ATTACK else PART_SIZES[part]
            result = EvaluationResult(
                part=part, rung=rung, correct=self._bits(size, 0.8), logits=ARTIFACT, numeric_path="stub"
            )
            with transaction(self.sessions, _silent) as session:
                record_evaluation(session, claimed, image_set, result)
        with transaction(self.sessions, _silent) as session:
            finish(session, claimed)
            want_measuring(session, claimed, rung=0)

    def _attack(self, claimed: Claim, image_set: ImageSetRow) -> None:
        assert claimed.network_id is not None
        assert claimed.comparison_id is not None
        subject = (claimed.network_id, claimed.comparison_id, image_set)
        with self.sessions.begin() as session:
            rungs = pending_attacks(session, *subject)
        for rung in rungs[:1]:
            fooled, noise = self._bits(RUNG_SIZES[rung], 0.7), self._bits(RUNG_SIZES[rung], 0.01)
            record = AttackRecord(
                rung=rung, attacked=RUNG_SIZES[rung], fooled=fooled, noise_fooled=noise, images=ARTIFACT,
                numeric_path="stub",
            )  # fmt: skip
            with transaction(self.sessions, _silent) as session:
                record_attack(session, claimed, image_set, record)
        with transaction(self.sessions, _silent) as session:
            hold(session, claimed)
            left = pending_attacks(session, *subject)
            finish_with(session, claimed, left[0] if left else None)

    def _transfer(self, claimed: Claim, image_set: ImageSetRow) -> None:
        assert claimed.network_id is not None
        assert claimed.comparison_id is not None
        subject = (claimed.network_id, claimed.comparison_id, image_set)
        with self.sessions.begin() as session:
            cells = pending_cells(session, *subject)
        now = [cell for cell in cells if cell.rung == cells[0].rung]
        self.target_loads += bool(now)
        for cell in now:
            size = RUNG_SIZES[cell.rung]
            record = TransferRecord(
                source_id=cell.source_id, rung=cell.rung, common=size, fooled=self._bits(size, 0.2),
                floor_fooled=None, ceiling_fooled=None, numeric_path="stub",
            )  # fmt: skip
            with transaction(self.sessions, _silent) as session:
                record_transfer(session, claimed, record)
                urgent = more_urgent_waits(session, claimed)
            self.cells += 1
            if urgent:
                break
        with transaction(self.sessions, _silent) as session:
            hold(session, claimed)
            left = pending_cells(session, *subject)
            finish_with(session, claimed, left[0].rung if left else None)

    def _bits(self, n: int, rate: float) -> np.ndarray:
        return self.rng.random(n) < rate


def _silent(_lane: Lane) -> None:
    """There is nobody to ring for."""


def main() -> None:
    """Print a line for each size, and the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=int, default=1300)
    parser.add_argument("--together", type=int, default=4, help="models that are registered at once at each size")
    arguments = parser.parse_args()
    say(
        "scale", models=arguments.models, images=N_ATTACK, prefix=PREFIX, together=arguments.together, machine=machine()
    )
    sizes = sorted({max(20, round(share * arguments.models)) for share in SHARES})
    with stack(durable=True) as running:
        rows = [measured(running, zoo_and_size, arguments.together) for zoo_and_size in growing(running, sizes)]
    table(
        ("models", "cells in the database", "registered at once", "cells recorded", "jobs", "cells/s", "ms a cell",
         "of it processor of the worker", "target loads", "database, B a cell"),
        rows,
    )  # fmt: skip


def growing(running: Stack, sizes: list[int]) -> Iterator[tuple[LargeZoo, int]]:
    """Yield one zoo with each of the sizes that it is to grow to."""
    zoo = LargeZoo(running.postgres)
    for size in sizes:
        yield zoo, size


def measured(running: Stack, zoo_and_size: tuple[LargeZoo, int], together: int) -> list[str]:
    """Fill the zoo, register `together` models, and return a row of the table."""
    zoo, size = zoo_and_size
    first = zoo.networks + 1
    zoo.add_networks(size - together - zoo.networks)
    zoo.add_pairs(first, bits=True)
    engine = make_engine(running.url)
    sessions = make_sessions(engine)
    before = database_bytes(sessions)
    zoo.add_networks(together, evaluated=False)
    ids = range(size - together + 1, size + 1)
    worker = StubWorker(sessions)
    started, processor = time.perf_counter(), time.process_time()
    with transaction(sessions, _silent) as session:
        for network in ids:
            want(session, JobKind.EVALUATE, network_id=network, comparison_id=1)
    worker.drain()
    seconds, processor = time.perf_counter() - started, time.process_time() - processor
    expected = len(RUNG_SIZES) * (2 * together * (size - together) + together * (together - 1))
    if worker.cells != expected:
        raise SystemExit(f"{worker.cells} cells were recorded at {size} models, not {expected}.")
    engine.dispose()
    jobs = sum(worker.jobs.values())
    recorded = size * (size - 1)
    say(
        "scale",
        models=size,
        cells=recorded,
        registered=together,
        recorded=worker.cells,
        seconds=round(seconds, 2),
        jobs=jobs,
        jobs_per_second=round(jobs / seconds, 1),
        cells_per_second=round(worker.cells / seconds, 1),
        ms_per_cell=round(1000 * seconds / worker.cells, 3),
        processor_ms_per_cell=round(1000 * processor / worker.cells, 3),
        target_loads=worker.target_loads,
        bytes_per_cell=round(before / ((size - together) * (size - together - 1))),
        load=os.getloadavg()[0],
    )
    return [
        f"{size:,}",
        f"{recorded:,}",
        str(together),
        f"{worker.cells:,}",
        f"{jobs:,}",
        f"{worker.cells / seconds:.0f}",
        f"{1000 * seconds / worker.cells:.2f}",
        f"{1000 * processor / worker.cells:.2f}",
        f"{worker.target_loads:,}",
        f"{before / ((size - together) * (size - together - 1)):.0f}",
    ]


def database_bytes(sessions: Sessions) -> int:
    """Return what transfers and pairs take on disk, with their indexes."""
    with sessions.begin() as session:
        session.execute(text("select pg_stat_force_next_flush()"))
        size: int = session.execute(
            text("select pg_total_relation_size('transfers') + pg_total_relation_size('pairs')")
        ).scalar_one()
    return size


if __name__ == "__main__":
    main()
