"""Following one model until it is measured, by the registry's events."""

import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

from rich.console import Console

from client.tables.figures import duration

if TYPE_CHECKING:
    from client.registry import Registry

WINDOW_SECONDS = 30.0  # that a rate is taken over
WAITING = "waiting for an image set"


class Pace:
    """Cells a second over the last half minute, and how long the rest takes at that."""

    def __init__(self) -> None:
        """Nothing was seen yet."""
        self._seen: deque[tuple[float, int]] = deque()

    def note(self, cells: int, now: float) -> None:
        """Take down that so many cells are measured at this moment of the monotonic clock."""
        if self._seen and cells < self._seen[-1][1]:
            self._seen.clear()  # a model was deleted
        self._seen.append((now, cells))
        while now - self._seen[0][0] > WINDOW_SECONDS and len(self._seen) > 2:  # noqa: PLR2004  a rate is between two
            self._seen.popleft()

    def rate(self) -> float | None:
        """Return cells a second; None while nothing has moved."""
        (began, before), (now, cells) = (self._seen[0], self._seen[-1]) if self._seen else ((0.0, 0), (0.0, 0))
        return (cells - before) / (now - began) if now > began and cells > before else None

    def seconds_left(self, cells: int) -> float | None:
        """Return how long so many cells take."""
        rate = self.rate()
        return cells / rate if rate else None


class Screen(Protocol):
    """Shows how far the model is."""

    def show(self, event: dict[str, Any], pace: Pace) -> None:
        """Show what an event told."""


def follow(registry: "Registry", name: str, console: Console) -> str:
    """Show the model's progress until its events end; return why: measured, archived, failed, deleted or stopped.

    Ctrl-C stops the showing and nothing else, and says how to come back.
    """
    reason, pace = "stopped", Pace()
    try:
        with _screen(console, name) as screen:
            for event in registry.model_events(name):
                if event.kind == "end":
                    reason = str(event.data["reason"])
                elif "progress" in event.data:
                    pace.note(event.data["progress"]["cells_measured"], time.monotonic())
                    screen.show(event.data, pace)
    except KeyboardInterrupt:
        console.print(f"The work goes on without this command; `sat watch {name}` shows it again.", soft_wrap=True)
    return reason


class Lines:
    """Where there is no terminal: a line whenever the stage changes."""

    def __init__(self, console: Console, name: str) -> None:
        """Show nothing yet."""
        self._console, self._name, self._stage = console, name, ""

    def show(self, event: dict[str, Any], pace: Pace) -> None:
        """Print the stage, unless it is the one that was printed last."""
        steps = event["progress"]
        if steps["stage"] == self._stage:
            return
        self._stage = steps["stage"]
        self._console.print(f"  {self._name}: {told(event, pace)}", soft_wrap=True)


class Bars:
    """On a terminal: a bar of cells, with cells a second and the time left."""

    def __init__(self, progress: Any, name: str) -> None:
        """Show an empty bar."""
        self._progress = progress
        self._task = progress.add_task(name, total=None, told="")

    def show(self, event: dict[str, Any], pace: Pace) -> None:
        """Move the bar."""
        steps = event["progress"]
        self._progress.update(
            self._task, completed=steps["cells_measured"], total=steps["cells"] or None, told=told(event, pace)
        )


def told(event: dict[str, Any], pace: Pace) -> str:
    """Return an event in words: the stage, the cells, how fast and how long."""
    steps = event["progress"]
    parts = [steps["stage"]]
    if steps["cells"]:
        parts.append(f"{steps['cells_measured']} of {steps['cells']} cells")
    if (rate := pace.rate()) is not None and not steps["complete"]:
        parts += [
            f"{rate:.1f} cells/s",
            f"{duration(pace.seconds_left(steps['cells'] - steps['cells_measured']))} left",
        ]
    if steps["stage"] == WAITING:
        parts.append("`sat images import --help`")
    if steps["reason"]:
        parts.append(steps["reason"])
    return ", ".join(parts)


@contextmanager
def _screen(console: Console, name: str) -> Iterator[Screen]:
    if not console.is_terminal:
        yield Lines(console, name)
        return
    from rich.progress import BarColumn, Progress, TextColumn

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.fields[told]}", markup=False),
    )
    with Progress(*columns, console=console) as progress:
        yield Bars(progress, name)
