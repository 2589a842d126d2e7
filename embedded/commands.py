"""`sat serve`, `sat backup`, `sat restore-backup`: the one-machine stack, and its data."""

import json
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Annotated, Any

import typer

from embedded.backup import back_up, bring_back
from embedded.errors import EmbeddedError
from embedded.folder import data_folder
from embedded.supervisor import join_or_start

AsJson = Annotated[
    bool, typer.Option("--json", help="Print what came of it as JSON; what is said goes to standard error.")
]


def serve(
    *,
    port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="Listen here, or on the next free port. [SAT_PORT, else 8000]")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Compute workers. [SAT_WORKERS, else one a core, at most 4]")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Run the registry on this machine until Ctrl-C: database, queue, api and workers, on the folder SAT_HOME."""
    home = data_folder()
    say = _voice(as_json=as_json)
    _treat_as_ctrl_c(signal.SIGTERM, signal.SIGHUP)
    say(f"Starting PostgreSQL, Valkey, the api and the workers on {home} …")
    try:
        with join_or_start(home, port, compute_workers=workers, say=say) as stack:
            if as_json:
                _print({"url": stack.url, "pid": stack.pid, "started": stack.started, "home": str(home)})
            if not stack.started:
                say(f"The registry already runs on this folder: {stack.url} (process {stack.pid}).")
                return
            say(f"The registry answers at {stack.url} (interactive documentation: {stack.url}/docs).")
            say(f"Logs: {home / 'logs'}. Ctrl-C stops everything; the data stays.")
            threading.Event().wait()
    except EmbeddedError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from None
    except KeyboardInterrupt:
        say("Stopped.")


def _treat_as_ctrl_c(*signals: signal.Signals) -> None:
    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    for number in signals:
        signal.signal(number, interrupt)


def _voice(*, as_json: bool) -> Callable[[str], None]:
    """What says a sentence: on standard error where standard output is for JSON."""
    return partial(typer.echo, err=as_json)


def _print(answer: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


def backup(
    folder: Annotated[Path, typer.Argument(help="A new folder, best on another disk.")],
    *,
    as_json: AsJson = False,
) -> None:
    """Save the registry of this machine (SAT_HOME) into a new folder; it may run meanwhile."""
    say = _voice(as_json=as_json)
    with _refusals():
        made = back_up(data_folder(), folder, say)
    if as_json:
        _print({"folder": str(folder), **asdict(made)})
    where = f"{made.files} files ({made.bytes / 1e6:,.1f} MB)" if made.elsewhere is None else "no files"
    say(f"Saved: the database and {where}, in {folder}.")
    if made.elsewhere is not None:
        say(f"The artifacts stay in {made.elsewhere}: copy them, or have the bucket keep versions.")


def restore_backup(
    folder: Annotated[Path, typer.Argument(help="What `sat backup` wrote.")],
    *,
    as_json: AsJson = False,
) -> None:
    """Bring a backup back into an empty SAT_HOME; `sat serve` then answers as it did."""
    say = _voice(as_json=as_json)
    with _refusals():
        made = bring_back(data_folder(), folder, say)
    if as_json:
        _print({"home": str(data_folder()), **asdict(made)})
    say(f"Restored as of {made.made_at} into {data_folder()}: `sat serve` runs it.")


@contextmanager
def _refusals() -> Iterator[None]:
    try:
        yield
    except EmbeddedError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from None
