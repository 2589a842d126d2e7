"""Starting, stopping and finding child processes."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from embedded import launch
from embedded.errors import EmbeddedError

SAME_USER = "same"  # see embedded/launch.py for the other identities
POLL_SECONDS = 0.05


def _nothing() -> None:
    """Prepare nothing."""


@dataclass(frozen=True, kw_only=True)
class Service:
    """One program to be kept running.

    Attributes:
        name: what log files and messages call it.
        command: program and arguments.
        env: added to the environment that every child gets.
        prepare: run before each start; clears away what a killed predecessor left.
        ready: tells whether it answers; None: it is not waited for.
        ready_seconds: how long a start may take.
        stop_signal: asks it to end; after stop_seconds it is killed.
        death_signal: what the kernel sends it when the supervisor dies.
        identity: as whom it runs (embedded/launch.py).
        descriptors: open files that it inherits.
        is_server: others need it: it starts before them and stops after them.
        may_end: ending with status 0 is its own decision (a drained worker); it is not started again.
    """

    name: str
    command: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    prepare: Callable[[], None] = _nothing
    ready: Callable[[], bool] | None = None
    ready_seconds: float = 60
    stop_signal: signal.Signals = signal.SIGTERM
    stop_seconds: float = 10
    death_signal: signal.Signals = signal.SIGKILL
    identity: str = SAME_USER
    descriptors: tuple[int, ...] = ()
    is_server: bool = False
    may_end: bool = False


def child_environment(extra: Mapping[str, str]) -> dict[str, str]:
    """Return this process's environment with extra on top, without libpq's own variables.

    An operator's PGHOST, PGPORT or PGSERVICE would send a child to another server.
    """
    kept = {key: value for key, value in os.environ.items() if not key.startswith("PG")}
    return kept | dict(extra)


def wrapped(command: tuple[str, ...], *, identity: str, death_signal: signal.Signals) -> list[str]:
    """Return the command line that runs command under embedded/launch.py."""
    launcher = [sys.executable, "-I", "-S", str(Path(launch.__file__).resolve())]
    return [*launcher, str(os.getpid()), str(int(death_signal)), identity, *command]


def start(service: Service, log: Path) -> subprocess.Popen[bytes]:
    """Start a service as a direct child in a session of its own, its output appended to log.

    Call it from a thread that lives as long as the service may: the kernel sends the death signal when the
    *thread* that started a child ends. The own session keeps a terminal's Ctrl-C for the supervisor.
    """
    service.prepare()
    with log.open("ab") as output:
        return subprocess.Popen(  # noqa: S603 (the command is our own)
            wrapped(service.command, identity=service.identity, death_signal=service.death_signal),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=child_environment(service.env),
            pass_fds=service.descriptors,
            start_new_session=True,
        )


def finish(
    command: tuple[str, ...], *, identity: str = SAME_USER, env: Mapping[str, str] | None = None
) -> tuple[int, str]:
    """Run a command to its end, tied to this process; return its exit status and all that it printed."""
    answer = subprocess.run(  # noqa: S603 (the command is our own)
        wrapped(command, identity=identity, death_signal=signal.SIGKILL),
        check=False,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=child_environment(env or {}),
    )
    return answer.returncode, answer.stdout.decode(errors="replace")


def stop(service: Service, process: subprocess.Popen[bytes]) -> None:
    """Ask a service to end, wait stop_seconds, then kill it with whatever it started in its session."""
    if process.poll() is None:
        process.send_signal(service.stop_signal)
        with suppress(subprocess.TimeoutExpired):
            process.wait(service.stop_seconds)
    kill_session(process)


def kill_session(process: subprocess.Popen[bytes]) -> None:
    """Kill what is left of the session that a child led, the child included."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def wait_until_ready(service: Service, process: subprocess.Popen[bytes], log: Path) -> None:
    """Return when the service answers; EmbeddedError with its last lines when it ends or takes too long."""
    assert service.ready is not None
    deadline = time.monotonic() + service.ready_seconds
    while not service.ready():
        if process.poll() is not None:
            raise EmbeddedError(f"{service.name} ended while starting:\n{tail(log)}\nIts log is {log}.")
        if time.monotonic() > deadline:
            raise EmbeddedError(
                f"{service.name} did not answer within {service.ready_seconds:g} s:\n{tail(log)}\nIts log is {log}."
            )
        time.sleep(POLL_SECONDS)


@contextmanager
def running(service: Service, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run one service, without restarts, until the block ends."""
    process = start(service, log)
    try:
        if service.ready is not None:
            wait_until_ready(service, process, log)
        yield process
    finally:
        stop(service, process)


def tail(log: Path, lines: int = 15) -> str:
    """Return the last lines of a log, at most 8 kB of them; empty when there is none."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - 8192))
            return "\n".join(file.read().decode(errors="replace").splitlines()[-lines:])
    except FileNotFoundError:
        return ""


def processes_in(folder: Path) -> list[int]:
    """Return the ids of running processes whose working folder is exactly this one (Linux; elsewhere none).

    Both servers work in their data folder, so this finds a killed supervisor's leftovers, whereas a process id
    in a file may belong to anybody by now: in a restarted container, almost surely.
    """
    resolved = str(folder.resolve())
    found = []
    for link in Path("/proc").glob("[0-9]*/cwd"):
        with suppress(OSError):  # it ended, or is not ours to look at
            if link.readlink().as_posix() == resolved:
                found.append(int(link.parent.name))
    return [process_id for process_id in found if process_id != os.getpid()]


def end_leftovers(folder: Path, polite: signal.Signals, seconds: float = 10) -> None:
    """End every process that still works in folder: politely first, after that many seconds with SIGKILL.

    Raises:
        EmbeddedError: when one cannot be ended.
    """
    deadline = time.monotonic() + seconds
    sent: set[int] = set()
    while leftovers := processes_in(folder):
        overdue = time.monotonic() - deadline
        if overdue > seconds:
            raise EmbeddedError(f"Processes {leftovers} still use {folder} and cannot be ended; end them first.")
        for process_id in leftovers:
            if overdue > 0 or process_id not in sent:
                with suppress(ProcessLookupError, PermissionError):
                    os.kill(process_id, signal.SIGKILL if overdue > 0 else polite)
                sent.add(process_id)
        time.sleep(POLL_SECONDS)
