"""What commands share on their way in and out: options, the connection, the terminal."""

import json
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from client.address import find_url, is_exposed
from client.credentials import find_key

if TYPE_CHECKING:
    from client.events import Event
    from client.registry import Registry

PIPE_WIDTH = 120  # columns, where nothing tells the width
SCREENFUL = 50

Url = Annotated[
    str | None,
    typer.Option("--url", envvar="SAT_URL", help="The registry's address, such as http://127.0.0.1:8000."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print the registry's answer as JSON.")]
ImageSetName = Annotated[
    str | None, typer.Option("--image-set", help="Compare on this image set, not the default one.")
]
ProtocolName = Annotated[
    str | None, typer.Option("--protocol", help="Compare with this protocol, not the default one.")
]


def _width() -> int | None:
    return None if sys.stdout.isatty() or "COLUMNS" in os.environ else PIPE_WIDTH


# no markup: names, descriptions and failures are other people's text
console = Console(markup=False, emoji=False, highlight=False, width=_width())
complaints = Console(stderr=True, markup=False, emoji=False, highlight=False, soft_wrap=True)


def connect(url: str | None) -> "Registry":
    """Return a client for the registry at `url`, or where the environment or the running stack says."""
    from client.registry import Registry  # httpx takes longer to load than the rest of `sat --help`

    found, key = find_url(url), find_key()
    if key is not None and is_exposed(found):
        complaints.print(f"sat: the key goes unencrypted to {found}, for all on the way to read: use https://.")
    return Registry(found, key=key)


@contextmanager
def aside(*, as_json: bool) -> Iterator[None]:
    """Have what the block says go to standard error, where standard output is for JSON alone."""
    if not as_json:
        yield
        return
    shown, console.file = console.file, sys.stderr
    try:
        yield
    finally:
        console.file = shown


def say(sentence: str) -> None:
    """Print a line that is not wrapped, so that it can be copied and searched."""
    console.print(sentence, soft_wrap=True)


def shown_of(limit: int | None, *, as_json: bool) -> int | None:
    """Return how many items of a list are shown: as many as asked for, else a screenful, or as JSON all."""
    return limit if limit is not None or as_json else SCREENFUL


def print_json(answer: Any) -> None:
    """Print the registry's answer as JSON that programs can read."""
    sys.stdout.write(json.dumps(answer, indent=2, ensure_ascii=False) + "\n")


def print_events(events: "Iterable[Event]") -> None:
    """Print events as lines of JSON, as they come, until they end or Ctrl-C stops it."""
    with suppress(KeyboardInterrupt):
        for event in events:
            sys.stdout.write(json.dumps({"event": event.kind, "id": event.id, "data": event.data}) + "\n")
            sys.stdout.flush()


@contextmanager
def bar(title: str, total: int | None, unit: str = "") -> Iterator[Any]:
    """Show a progress bar on standard error while the block runs; yield a function that moves it on by n.

    unit "bytes" shows sizes and speed.
    """
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    amount: Any = DownloadColumn() if unit == "bytes" else MofNCompleteColumn()
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), amount, TimeRemainingColumn())
    progress: Progress = Progress(*columns, console=complaints, disable=not complaints.is_terminal)
    with progress:
        task = progress.add_task(title, total=total)
        yield lambda n: progress.advance(task, n)
