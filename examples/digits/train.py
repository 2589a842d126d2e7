"""Train what is missing of the zoo, two members at a time, each on one thread. Loads no torch in this process."""

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from itertools import chain
from multiprocessing.connection import wait
from pathlib import Path

from examples.digits.zoo import MEMBERS, Member

PROCESSES = 2


class TrainingError(Exception):
    """A member could not be trained; the members finished before it are kept."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Trained:
    """One member is ready, as which of how many, after how many seconds of one core (0 where it was there)."""

    name: str
    path: Path
    seconds: float
    done: int
    total: int


Progress = Callable[[Trained], None]


def train_zoo(folder: Path, progress: Progress | None = None) -> dict[str, Path]:
    """Return every member's checkpoint (safetensors) by name, kept below folder; what is there is not trained again.

    progress hears of each member as it gets ready, in any order. Raises TrainingError.
    """
    return train_members(folder, MEMBERS, progress)


def train_members(folder: Path, members: Iterable[Member], progress: Progress | None = None) -> dict[str, Path]:
    """Do for these members what train_zoo does for all."""
    chosen = tuple(members)
    paths = {member.name: member.path(folder) for member in chosen}
    missing = [member for member in chosen if not paths[member.name].exists()]
    present = [(name, 0.0) for name, path in paths.items() if path.exists()]
    for done, (name, seconds) in enumerate(chain(present, _train(missing, paths)), start=1):
        if progress is not None:
            progress(Trained(name=name, path=paths[name], seconds=seconds, done=done, total=len(chosen)))
    return paths


def _train(missing: Sequence[Member], paths: Mapping[str, Path]) -> Iterator[tuple[str, float]]:
    """Yield each member's name and seconds of one core, as they get ready."""
    if not missing:
        return
    # spawned, not forked: torch's threads do not survive a fork
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(PROCESSES, len(missing)), context, initializer=_begin_worker) as workers:
        # the slowest are listed last: begun first, they leave no process idle at the end
        started = {workers.submit(_fit, member, paths[member.name]): member for member in reversed(missing)}
        try:
            for future in as_completed(started):
                yield started[future].name, _seconds(future, started[future])
        finally:
            workers.shutdown(wait=False, cancel_futures=True)


def _seconds(future: Future[float], member: Member) -> float:
    try:
        return future.result()
    except Exception as error:
        raise TrainingError(
            f"training {member.name} failed: {error}. Run it again: what has been trained is kept."
        ) from error


def _begin_worker() -> None:
    # read when torch is first loaded, in this process only
    os.environ.update(OMP_NUM_THREADS="1", MKL_NUM_THREADS="1", OMP_WAIT_POLICY="PASSIVE")
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends it without a traceback
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None, "training runs in a child process"
    wait([parent.sentinel])
    os._exit(1)


def _fit(member: Member, path: Path) -> float:
    from examples.digits.fit import fit  # torch

    started = time.process_time()
    fit(member, path)
    return time.process_time() - started
