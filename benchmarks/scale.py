"""Measure the scheduler and the database as a zoo grows, with computations that take no time.

At each size the zoo is filled in bulk (benchmarks/large_zoo.py, every bit of every cell included), and then a few
models are registered through the real scheduler: jobs are claimed, pending cells found and results recorded by the
registry's own functions, one process doing all of it. So what is timed is what a worker pays beside its computing.

    python benchmarks/scale.py               1,300 models, 1.7 million cells of two rungs
    python benchmarks/scale.py --models 200  the same, short
"""

import argparse
import math
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
from registry.deliveries import news_is_wanted
from registry.jobs import Claim, claim, finish, finish_with, hold
from registry.meetings import want_meetings
from registry.pending import Cell, pending_attacks, pending_cells, pending_evaluations
from registry.results import (
    AttackRecord,
    EvaluationResult,
    TransferRecord,
    record_attack,
    record_evaluation,
    want_measuring,
)
from registry.tables import JobKind, Lane, Part
from registry.wanting import want
from worker.recorder import TOGETHER_CELLS, recording
from worker.subject import read_subject
from worker.tasks.transfers import priority_after

SHARES = (0.08, 0.25, 0.5, 0.75, 1.0)  # of the largest size: where cells are timed
# (models that are registered at once, cells that one transaction records at most)
WAYS = ((1, 1), (1, TOGETHER_CELLS), (4, TOGETHER_CELLS))
ARTIFACT = b"0" * 32  # the one that stands for all logits and images
PART_SIZES = {Part.SELECT: N_OTHER, Part.REPORT: N_OTHER}
CELL_BITS_BYTES = sum(-(-size // 8) for size in RUNG_SIZES)


@dataclass
class StubWorker:
    """Does what a compute worker does, with random bits for results."""

    sessions: Sessions
    together_seconds: float  # of measuring that one transaction records (SAT_RECORD_SECONDS)
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
            if claimed is None:
                return
            self.jobs[claimed.kind] += 1
            tasks[claimed.kind](claimed)

    def _evaluate(self, claimed: Claim) -> None:
        assert claimed.network_id is not None
        with self.sessions.begin() as session:
            image_set = read_subject(session, claimed).image_set
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

    def _attack(self, claimed: Claim) -> None:
        assert claimed.network_id is not None
        assert claimed.comparison_id is not None
        with self.sessions.begin() as session:
            image_set = read_subject(session, claimed).image_set
            subject = (claimed.network_id, claimed.comparison_id, image_set)
            rungs = pending_attacks(session, *subject)
        for rung in rungs[:1]:
            fooled, noise = self._bits(RUNG_SIZES[rung], 0.7), self._bits(RUNG_SIZES[rung], 0.01)
            record = AttackRecord(
                rung=rung, attacked=RUNG_SIZES[rung], fooled=fooled, noise_fooled=noise, images=ARTIFACT,
                numeric_path="stub",
            )  # fmt: skip
            with transaction(self.sessions, _silent) as session:
                record_attack(session, claimed, record)
        with transaction(self.sessions, _silent) as session:
            hold(session, claimed)
            want_meetings(session, claimed, image_set)
            left = pending_attacks(session, *subject)
            finish_with(session, claimed, left[0] if left else None)

    def _transfer(self, claimed: Claim) -> None:
        assert claimed.network_id is not None
        assert claimed.comparison_id is not None
        with self.sessions.begin() as session:
            subject = (claimed.network_id, claimed.comparison_id, read_subject(session, claimed).image_set)
            cells = pending_cells(session, *subject, sources=claimed.sources)
        now = [cell for cell in cells if cell.rung == cells[0].rung]
        self.target_loads += bool(now)
        with recording(self.sessions, _silent, claimed, self.together_seconds) as recorder:
            for done, cell in enumerate(now):
                self.cells += 1
                if recorder.add(self._cell(cell), priority_after(now, done)):
                    break
            with recorder.recorded() as (session, asked):
                left = pending_cells(session, *subject, sources=asked)
                first = left[0] if left else None
                finish_with(session, claimed, first.rung if first else None, nearness=first.nearness if first else None)
                if not left:
                    news_is_wanted(session)

    def _cell(self, cell: Cell) -> TransferRecord:
        size = RUNG_SIZES[cell.rung]
        return TransferRecord(
            source_id=cell.source_id, rung=cell.rung, common=size, fooled=self._bits(size, 0.2),
            floor_fooled=None, ceiling_fooled=None, numeric_path="stub",
        )  # fmt: skip

    def _bits(self, n: int, rate: float) -> np.ndarray:
        return self.rng.random(n) < rate


def _silent(_lane: Lane) -> None:
    """There is nobody to ring for."""


def main() -> None:
    """Print a line for each size and way, and the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=int, default=1300)
    arguments = parser.parse_args()
    say("scale", models=arguments.models, images=N_ATTACK, prefix=PREFIX, machine=machine())
    sizes = sorted({max(20, round(share * arguments.models)) for share in SHARES})
    with stack(durable=True) as running:
        zoo = LargeZoo(running.postgres)
        rows = [row for size in sizes for row in measured(running, zoo, size)]
    table(
        ("models", "cells in the database", "registered at once", "cells a transaction, at most", "cells recorded",
         "jobs", "ms a cell", "of it processor of the worker", "target loads", "database, B a cell", "load"),
        rows,
    )  # fmt: skip


def measured(running: Stack, zoo: LargeZoo, size: int) -> Iterator[list[str]]:
    """Fill the zoo, then register models in each way, the last of which makes `size`; yield rows of the table."""
    first = zoo.networks + 1
    zoo.add_networks(size - sum(together for together, _ in WAYS) - zoo.networks)
    zoo.add_pairs(first, bits=True)
    zoo.settle()
    engine = make_engine(running.url)
    sessions = make_sessions(engine)
    for together, at_once in WAYS:
        yield registered(sessions, zoo, together, at_once)
    engine.dispose()


def registered(sessions: Sessions, zoo: LargeZoo, together: int, at_once: int) -> list[str]:
    """Register so many models and measure all their cells; return a row of the table."""
    others, before = zoo.networks, database_bytes(sessions)
    zoo.add_networks(together, evaluated=False)
    worker = StubWorker(sessions, 0 if at_once == 1 else math.inf)
    started, processor = time.perf_counter(), time.process_time()
    with transaction(sessions, _silent) as session:
        for network in range(others + 1, others + together + 1):
            want(session, JobKind.EVALUATE, network_id=network, comparison_id=1)
    worker.drain()
    seconds, processor = time.perf_counter() - started, time.process_time() - processor
    expected = len(RUNG_SIZES) * (2 * together * others + together * (together - 1))
    if worker.cells != expected:
        raise SystemExit(f"{worker.cells} cells were recorded at {others} models, not {expected}.")
    jobs = sum(worker.jobs.values())
    figures = {
        "models": zoo.networks,
        "cells": zoo.networks * (zoo.networks - 1),
        "registered": together,
        "at_once": at_once,
        "recorded": worker.cells,
        "jobs": jobs,
        "ms_per_cell": round(1000 * seconds / worker.cells, 2),
        "processor_ms_per_cell": round(1000 * processor / worker.cells, 2),
        "target_loads": worker.target_loads,
        "bytes_per_cell": round(before / (others * (others - 1))),
        "load": round(os.getloadavg()[0], 1),
    }
    say("scale", **figures, seconds=round(seconds, 2), jobs_per_second=round(jobs / seconds, 1))
    return [f"{each:,}" for each in figures.values()]


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
