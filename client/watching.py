"""Watching the workers until nothing is left to measure."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Self

from rich.console import Console

from client.shapes import Comparison
from client.tables.figures import duration

if TYPE_CHECKING:
    from client.registry import Registry

MEASURING = ("prepare", "evaluate", "attack", "transfers")  # kinds of jobs that bring pairs
POLL_SECONDS = 1.0
# looks without any job before missing cells are taken as given up: between two jobs the queue may be empty
PATIENCE = 3
WORKERLESS_SECONDS = 30.0  # a worker that is being started takes a while to load torch
LINE_SECONDS = 10.0  # between two lines where there is no terminal to draw bars on


@dataclass(frozen=True, kw_only=True, slots=True)
class Look:
    """How far everything is at one moment."""

    comparisons: tuple[Comparison, ...]
    waiting: dict[str, int]  # queued and running jobs by kind, measuring ones only
    running: int
    estimate_seconds: float | None

    @property
    def cells(self) -> int:
        """Directed pairs that are wanted."""
        return sum(one["progress"]["cells"] for one in self.comparisons)

    @property
    def cells_measured(self) -> int:
        """Directed pairs that are there."""
        return sum(one["progress"]["cells_measured"] for one in self.comparisons)

    @property
    def still(self) -> bool:
        """Nothing is queued or running."""
        return not self.waiting

    @property
    def complete(self) -> bool:
        """Nothing is queued or running, and no cell is missing."""
        return self.still and self.cells_measured >= self.cells

    def work(self) -> str:
        """Return what is queued and running, in words."""
        listed = ", ".join(f"{number} {kind}" for kind, number in self.waiting.items())
        return f"jobs: {listed}" if listed else "no job left"


def look(registry: "Registry", name: str | None = None) -> Look:
    """Return how far the comparison `name` is, or all that are measuring."""
    comparisons = tuple(
        one
        for one in registry.comparisons()
        if (one["name"] == name if name is not None else one["state"] == "measuring")
    )
    jobs = registry.jobs(limit=1)
    counts = [jobs["counts"].get(state, {}) for state in ("queued", "running")]
    waiting = {kind: sum(of.get(kind, 0) for of in counts) for kind in MEASURING}
    return Look(
        comparisons=comparisons,
        waiting={kind: number for kind, number in waiting.items() if number},
        running=sum(counts[1].get(kind, 0) for kind in MEASURING),
        estimate_seconds=jobs["estimate_seconds"],
    )


def watch(
    registry: "Registry",
    console: Console,
    *,
    name: str | None = None,
    poll_seconds: float = POLL_SECONDS,
    workerless_seconds: float = WORKERLESS_SECONDS,
) -> Look:
    """Show progress until every cell is measured, or no job is left that could measure one; return the last look.

    Work that nobody has taken for workerless_seconds makes it look for a living worker, and say so if there is none.
    """
    quiet = 0
    complain_at = time.monotonic() + workerless_seconds
    with _screen(console) as screen:
        while True:
            now = look(registry, name)
            screen.show(now)
            quiet = quiet + 1 if now.still else 0
            if now.complete or quiet >= PATIENCE:
                return now
            if now.still or now.running:
                complain_at = time.monotonic() + workerless_seconds
            elif time.monotonic() >= complain_at:
                complain_at = time.monotonic() + max(workerless_seconds, WORKERLESS_SECONDS)
                if not any(one["alive"] for one in registry.workers()):
                    screen.say("No worker is alive: `sat serve` starts some, or `python -m worker` on any host.")
            time.sleep(poll_seconds)


class Lines:
    """Progress where there is no terminal: a line now and then."""

    def __init__(self, print_line: Callable[[str], None]) -> None:
        """Print the first look at once."""
        self.say = print_line
        self._next = 0.0

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Leave the lines where they are."""

    def show(self, now: Look) -> None:
        """Print a line when it is time for one, or when all is done."""
        if time.monotonic() < self._next and not now.complete:
            return
        self._next = time.monotonic() + LINE_SECONDS
        left = f"; about {duration(now.estimate_seconds)} left" if now.estimate_seconds else ""
        self.say(f"  {now.cells_measured} of {now.cells} cells measured; {now.work()}{left}")


class Bars:
    """Progress on a terminal: a bar for each comparison, with cells a second and the time left."""

    def __init__(self, console: Console) -> None:
        """Draw nothing yet."""
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("cells"),
            TextColumn("{task.fields[rate]}", markup=False),
            TimeRemainingColumn(),
            TextColumn("{task.fields[work]}", markup=False, style="dim"),
            console=console,
        )
        self._tasks: dict[str, int] = {}

    def __enter__(self) -> Self:
        """Begin to draw."""
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Leave the last state on the terminal."""
        self._progress.stop()

    def say(self, sentence: str) -> None:
        """Print a sentence above the bars."""
        self._progress.console.print(sentence)

    def show(self, now: Look) -> None:
        """Move the bars."""
        from rich.progress import TaskID

        for one in now.comparisons:
            name = one["name"]
            if name not in self._tasks:
                self._tasks[name] = self._progress.add_task(name, total=None, rate="", work="")
            task = TaskID(self._tasks[name])
            steps = one["progress"]
            self._progress.update(
                task, completed=steps["cells_measured"], total=steps["cells"] or None, work=now.work()
            )
            speed = self._progress.tasks[self._progress.task_ids.index(task)].speed
            self._progress.update(task, rate=f"{speed:.1f}/s" if speed else "")


def _screen(console: Console) -> Bars | Lines:
    return Bars(console) if console.is_terminal else Lines(lambda line: console.print(line, soft_wrap=True))


def outcome(last: Look, failures: Sequence[str]) -> str:
    """Return in a sentence what the watching ended with.

    A cell is one direction of one pair on one rung.
    """
    if not last.comparisons:
        return "Nothing is being measured: import an image set first, `sat images import <folder> --name <name>`."
    failed = f" Failed: {', '.join(failures)}." if failures else ""
    if not last.cells:
        return f"There are no two models to compare yet.{failed}"
    missing = last.cells - last.cells_measured
    if missing:
        return (
            f"{last.cells_measured} of {last.cells} cells are measured; {missing} could not be: "
            f"`sat jobs --state failed` says why, `sat retry <model>` tries again.{failed}"
        )
    return f"All {last.cells} cells are measured.{failed}"
