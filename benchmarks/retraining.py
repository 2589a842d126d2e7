"""Measure what archived models cost: registering one more model, and reads, beside ever more of them.

A zoo of live models is kept; those that they superseded are archived and keep their scores, as after years of weekly
retraining. Every pair is there, which is more than such a zoo would have. Then one model is registered through the real
scheduler, with computations that take no time (benchmarks/scale.py), and the api's snapshot is read and followed.

    python benchmarks/retraining.py               50 live models beside 0, 250 and 500 archived ones
    python benchmarks/retraining.py --archived 50 the same, short
"""

import argparse
import math
import os
import time
from collections.abc import Callable
from typing import TypeVar

from large_zoo import LargeZoo, stack
from printing import machine, say, table
from scale import StubWorker
from sqlalchemy import Engine, text

from registry.database import Sessions, make_engine, make_sessions, transaction
from registry.reads.snapshot import View, read_view
from registry.tables import JobKind, Lane
from registry.versions import raise_version
from registry.wanting import want

LIVE = 50
REFRESHES = 10
# what one more cell does, of all pairs of the newcomer
NEWER = text(
    "update pairs set version = (select version from comparisons where id = 1) where b_id = :last and a_id >= :others"
)
T = TypeVar("T")


def main() -> None:
    """Print a line for each number of archived models, and the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--archived", type=int, default=500)
    most = parser.parse_args().archived
    say("retraining", live=LIVE, archived=most, machine=machine())
    rows = []
    with stack(durable=True) as running:
        zoo, engine = LargeZoo(running.postgres), make_engine(running.url)
        zoo.add_networks(LIVE)
        zoo.add_pairs(bits=True)
        for archived in (0, most // 2, most):
            grow(zoo, make_sessions(engine), archived)
            rows.append(measured(zoo, engine, archived))
        engine.dispose()
    table(
        ("archived models", "cells of one more", "jobs", "seconds", "of it processor of the worker",
         "first snapshot, processor s", "following it, processor ms", "arrays, MB", "load"),
        rows,
    )  # fmt: skip


def grow(zoo: LargeZoo, sessions: Sessions, archived: int) -> None:
    """Have so many archived models: all but the newest LIVE ones."""
    first, missing = zoo.networks + 1, archived + LIVE - zoo.networks
    if missing > 0:
        zoo.add_networks(missing)
        zoo.add_pairs(first, bits=True)
    with sessions.begin() as session:
        session.execute(
            text("update models set state = 'archived' where network_id <= :last"), {"last": zoo.networks - LIVE}
        )


def measured(zoo: LargeZoo, engine: Engine, archived: int) -> list[str]:
    """Register one model, read the snapshot, and follow it; return a row of the table."""
    sessions = make_sessions(engine)
    zoo.add_networks(1, evaluated=False)
    worker = StubWorker(sessions, math.inf)
    with transaction(sessions, _silent) as session:
        want(session, JobKind.EVALUATE, network_id=zoo.networks, comparison_id=1)
    started = time.perf_counter()
    _, processor = on_processor(worker.drain)
    seconds = time.perf_counter() - started
    if worker.cells != 2 * 2 * LIVE:
        raise SystemExit(f"{worker.cells} cells were recorded beside {archived} archived models, not {2 * 2 * LIVE}.")
    view, first = on_processor(lambda: read(engine, None))
    following = 0.0
    for _ in range(REFRESHES):
        with sessions.begin() as session:
            raise_version(session, 1)
            session.execute(NEWER, {"last": zoo.networks, "others": zoo.networks - LIVE})
        view, took = on_processor(lambda held=view: read(engine, held))
        following += took / REFRESHES
    cells = view.snapshots[1].cells
    arrays = (cells.n, cells.fooled, cells.both, cells.rungs, cells.sat, cells.above_noise)
    figures = {
        "archived": archived,
        "cells": worker.cells,
        "jobs": sum(worker.jobs.values()),
        "seconds": round(seconds, 2),
        "processor_seconds": round(processor, 2),
        "first_snapshot_seconds": round(first, 2),
        "following_ms": round(1000 * following, 1),
        "arrays_mb": round(sum(each.nbytes for each in arrays) / 1e6, 1),
        "load": round(os.getloadavg()[0], 1),
    }
    say("retraining", **figures)
    return [f"{each:,}" for each in figures.values()]


def read(engine: Engine, held: View | None) -> View:
    """As the api does."""
    with engine.connect().execution_options(isolation_level="REPEATABLE READ") as connection:
        return read_view(connection, frozenset({1}), held)


def on_processor(act: Callable[[], T]) -> tuple[T, float]:
    """Return what it returns, and the seconds of this process's processor that it takes."""
    started = time.process_time()
    result = act()
    return result, time.process_time() - started


def _silent(_lane: Lane) -> None:
    """There is nobody to ring for."""


if __name__ == "__main__":
    main()
