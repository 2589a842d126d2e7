"""`sat serve`, `sat backup`, `sat restore-backup`: the one-machine stack, and its data."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer

from embedded.backup import back_up, bring_back
from embedded.errors import EmbeddedError
from embedded.folder import data_folder
from embedded.supervisor import join_or_start


def serve(
    port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="Listen here, or on the next free port. [SAT_PORT, else 8000]")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Compute workers. [SAT_WORKERS, else one a core, at most 4]")
    ] = None,
) -> None:
    """Run the registry on this machine until Ctrl-C: database, queue, api and workers, on the folder SAT_HOME."""
    home = data_folder()
    _treat_as_ctrl_c(signal.SIGTERM, signal.SIGHUP)
    _say(f"Starting PostgreSQL, Valkey, the api and the workers on {home} …")
    try:
        with join_or_start(home, port, compute_workers=workers, say=_say) as stack:
            if not stack.started:
                _say(f"The registry already runs on this folder: {stack.url} (process {stack.pid}).")
                return
            _say(f"The registry answers at {stack.url} (interactive documentation: {stack.url}/docs).")
            _say(f"Logs: {home / 'logs'}. Ctrl-C stops everything; the data stays.")
            threading.Event().wait()
    except EmbeddedError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from None
    except KeyboardInterrupt:
        _say("Stopped.")


def _treat_as_ctrl_c(*signals: signal.Signals) -> None:
    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    for number in signals:
        signal.signal(number, interrupt)


def _say(sentence: str) -> None:
    typer.echo(sentence)


def backup(
    folder: Annotated[Path, typer.Argument(help="A new folder, best on another disk.")],
) -> None:
    """Save the registry of this machine (SAT_HOME) into a new folder; it may run meanwhile."""
    with _refusals():
        made = back_up(data_folder(), folder, _say)
    where = f"{made.files} files ({made.bytes / 1e6:,.1f} MB)" if made.elsewhere is None else "no files"
    _say(f"Saved: the database and {where}, in {folder}.")
    if made.elsewhere is not None:
        _say(f"The artifacts stay in {made.elsewhere}: copy them, or have the bucket keep versions.")


def restore_backup(
    folder: Annotated[Path, typer.Argument(help="What `sat backup` wrote.")],
) -> None:
    """Bring a backup back into an empty SAT_HOME; `sat serve` then answers as it did."""
    with _refusals():
        made = bring_back(data_folder(), folder, _say)
    _say(f"Restored as of {made.made_at} into {data_folder()}: `sat serve` runs it.")


@contextmanager
def _refusals() -> Iterator[None]:
    try:
        yield
    except EmbeddedError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from None
