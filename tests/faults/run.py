"""`python -m tests.faults.run`: a fault-free run, then the same models under a nemesis, then the history checker.

Prints a line a fault and a summary as JSON; ends with status 1, and names the seed, when anything is not as it must be.
"""

import argparse
import json
import shutil
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import func, select

from client.registry import Registry
from registry.__main__ import migrate
from registry.database import Sessions, make_engine, make_sessions
from registry.settings import Settings
from registry.storage.artifacts import open_store
from registry.tables import JobRow, JobState, ModelRow, ModelState, PairRow
from registry.upkeep.gc import NOTHING_KEPT, sweep
from registry.upkeep.orphans import find_orphans
from tests.faults import witness
from tests.faults.baseline import COMPARISON, measure_undisturbed
from tests.faults.clients import Client, Diary, watching
from tests.faults.history import (
    Anomaly,
    Measured,
    Wrong,
    as_json,
    check_answers,
    check_results,
    check_rows,
    read_measured,
)
from tests.faults.nemesis import Nemesis, plan
from tests.faults.report import too_mild, write_figures
from tests.faults.stack import LEASE_SECONDS, Stack
from tests.faults.zoo import PROTOCOL, Entry, image_set, make_zoo

# The last models come while faults still happen.
LAST_TURN = 0.85
# Without a job for so long there will be none.
IDLE_SECONDS = 20.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Size:
    """How much a run does. pause: seconds between faults, on average."""

    seed: int
    models: int
    faults: int
    clients: int = 3
    compute_workers: int = 2
    pause: float = 1.2
    lease_seconds: float = LEASE_SECONDS
    settle_seconds: float = 240.0


def run(
    size: Size,
    folder: Path,
    say: Callable[[str], None],
    *,
    known: tuple[Sequence[Entry], Measured] | None = None,
) -> dict[str, Any]:
    """Do one run in an empty folder; return its summary, whose `anomalies` are empty when all is well.

    known: the models, and what they measure without faults, where a run before this one found out.
    """
    began = time.monotonic()
    entries = known[0] if known else make_zoo(_made(folder / "zoo"), size.models, size.seed)
    with Stack(folder / "stack", compute_workers=size.compute_workers, lease_seconds=size.lease_seconds) as stack:
        expected = known[1] if known else _fault_free(stack, folder, entries)
        say(f"{time.monotonic() - began:6.1f} s  know what {len(entries)} models measure without faults")
        stack.start_programs()
        _set_up(stack, folder)
        witness.install(stack.database_url)
        diary = Diary(path=folder / "exchanges.jsonl")
        faults = plan(size.seed, size.faults, stack.workers, lease_seconds=size.lease_seconds, pause=size.pause)
        nemesis = Nemesis(stack, faults, folder / "faults.jsonl", say)
        disturbed = time.monotonic()
        with watching(diary):
            _disturb(stack, entries, nemesis, diary, size)
        disturbed = time.monotonic() - disturbed
        say(f"{time.monotonic() - began:6.1f} s  no more faults; waiting for what is left")
        anomalies = list(_judge(stack, expected, diary, size))
        summary = _summarise(size, stack, nemesis, diary, expected)
    return {
        **summary,
        "disturbed_seconds": round(disturbed, 1),
        "seconds": round(time.monotonic() - began, 1),
        "anomalies": as_json(anomalies),
    }


def _fault_free(stack: Stack, folder: Path, entries: Sequence[Entry]) -> Measured:
    stack.create_database("undisturbed")
    url = stack.database_url.replace("/sat?", "/undisturbed?")
    migrate(url)
    return measure_undisturbed(url, stack.redis_url, _made(folder / "undisturbed"), entries)


def _set_up(stack: Stack, folder: Path) -> None:
    """What is compared on, and how: made over the API before the first fault."""
    content = folder / "digits.safetensors"
    with Registry(stack.url) as registry:
        registry.create_image_set(image_set(content), content)
        registry.create_protocol(PROTOCOL)
        registry.compare(str(COMPARISON["image_set"]), str(COMPARISON["protocol"]), state="measuring")


def _disturb(stack: Stack, entries: Sequence[Entry], nemesis: Nemesis, diary: Diary, size: Size) -> None:
    turns = [LAST_TURN * number / len(entries) for number in range(len(entries))]
    clients = [
        Client(stack.url, entries[one :: size.clients], turns[one :: size.clients], nemesis.fraction, diary)
        for one in range(size.clients)
    ]
    nemesis.start()
    for client in clients:
        client.thread.start()
    try:
        nemesis.wait()
        deadline = time.monotonic() + size.settle_seconds
        for client in clients:
            client.thread.join(max(0.0, deadline - time.monotonic()))
    finally:
        nemesis.stop()
        for client in clients:
            client.stop()


def _judge(stack: Stack, expected: Measured, diary: Diary, size: Size) -> Iterator[Anomaly]:
    """Wait until the work is done, collect garbage, and look at everything."""
    engine = make_engine(stack.database_url)
    try:
        yield from _judge_database(stack, make_sessions(engine), expected, diary, size)
    finally:
        engine.dispose()
    _, lawless = witness.unlawful(stack.database_url)
    yield from (Anomaly(Wrong.UNLAWFUL, what) for what in lawless)
    yield from check_answers(diary)
    missing = size.models - len(set(diary.acknowledged))
    if missing:
        yield Anomaly(Wrong.UNFINISHED, f"{missing} registrations were never acknowledged")


def _judge_database(
    stack: Stack, sessions: Sessions, expected: Measured, diary: Diary, size: Size
) -> Iterator[Anomaly]:
    _wait_until_done(sessions, size)
    settings = Settings(
        database_url=stack.database_url, redis_url=stack.redis_url, artifacts=str(stack.folder / "artifacts"),
        cache=stack.folder / "cache", min_free_bytes=0,
    )  # fmt: skip
    store = open_store(settings)
    sweep(sessions, store, NOTHING_KEPT)
    with sessions() as session:
        yield from check_rows(session, diary.acknowledged)
        yield from check_results(read_measured(session), expected)
        for orphan in find_orphans(session, store):
            yield Anomaly(Wrong.ORPHAN, f"{orphan.kind} {orphan.what}")


def _wait_until_done(sessions: Sessions, size: Size) -> None:
    """Return when everything is measured, when nothing has been going on for a while, or when it takes too long."""
    deadline = busy_at = time.monotonic()
    deadline += size.settle_seconds
    while (now := time.monotonic()) < deadline and now < busy_at + IDLE_SECONDS:
        busy, done = _progress(sessions, size.models)
        if done:
            return
        busy_at = time.monotonic() if busy else busy_at
        time.sleep(0.5)


def _progress(sessions: Sessions, models: int) -> tuple[bool, bool]:
    """Whether any job waits or runs; whether none does, all models are prepared, and every pair is whole."""
    with sessions() as session:
        busy = session.scalars(
            select(func.count()).select_from(JobRow).where(JobRow.state.in_([JobState.QUEUED, JobState.RUNNING]))
        ).one()
        unprepared = session.scalars(
            select(func.count()).select_from(ModelRow).where(ModelRow.state == ModelState.RECEIVED)
        ).one()
        whole = session.scalars(select(func.count()).select_from(PairRow).where(PairRow.rungs == 2)).one()
    return bool(busy), not busy and not unprepared and whole == models * (models - 1) // 2


def _summarise(size: Size, stack: Stack, nemesis: Nemesis, diary: Diary, expected: Measured) -> dict[str, Any]:
    witnessed, _ = witness.unlawful(stack.database_url)
    statuses = Counter(str(exchange.status or "broken connection") for exchange in diary.exchanges)
    logs = stack.workers
    return {
        "seed": size.seed,
        "faults": len(nemesis.done),
        "faults_that_met_nothing": len(nemesis.missed),
        "faults_by_kind": dict(sorted(Counter(str(fault.kind) for fault in nemesis.done).items())),
        "registrations": len(diary.acknowledged),
        "responses": dict(sorted(statuses.items())),
        "cells": len({key[:2] for key, _ in expected.transfers}),
        "pairs": len(expected.pairs),
        "results_witnessed": witnessed,
        "stopped_by_a_fence": sum(stack.said(name, "fenced off") for name in logs),
        "jobs_started": sum(stack.said(name, " starts (attempt ") for name in logs),
        "jobs_started_again": sum(
            stack.said(name, " starts (attempt ") - stack.said(name, " starts (attempt 1)") for name in logs
        ),
    }


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@contextmanager
def _work_folder(keep: Path | None) -> Iterator[Path]:
    if keep is not None:
        yield _made(keep)
        return
    # short: a socket's path has 107 bytes
    folder = Path(tempfile.mkdtemp(prefix="sat-faults-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run as told by the command line; 1 when there is an anomaly."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--models", type=int, default=32)
    parser.add_argument("--faults", type=int, default=220)
    parser.add_argument("--pause", type=float, default=1.2, help="seconds between faults, on average")
    parser.add_argument("--folder", type=Path, help="keep logs and data here")
    parser.add_argument("--write", type=Path, help="write the figures into this document")
    asked = parser.parse_args(arguments)
    size = Size(seed=asked.seed, models=asked.models, faults=asked.faults, pause=asked.pause)
    lock = threading.Lock()

    def say(line: str) -> None:
        with lock:
            print(line, flush=True)  # noqa: T201  this is a command

    with _work_folder(asked.folder) as folder:
        summary = run(size, folder, say)
    say(json.dumps(summary, indent=2))
    if summary["anomalies"]:
        say(f"{len(summary['anomalies'])} anomalies; the same faults again: --seed {asked.seed}")
        return 1
    if mild := too_mild(summary, asked.faults):
        say(f"No anomaly, and no proof: {mild}")
        return 1
    if asked.write:
        write_figures(asked.write, summary)
    return 0


if __name__ == "__main__":
    sys.exit(main())
