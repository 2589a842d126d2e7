"""Keeping services running: restarts with growing pauses, bounded logs, an orderly end."""

import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from embedded.errors import EmbeddedError
from embedded.processes import POLL_SECONDS, Service, kill_session, start, tail

LONGEST_PAUSE_SECONDS = 30.0
HEALTHY_SECONDS = 60.0  # after so long a life, a death is the first again
START_ATTEMPTS = 3
LOG_BYTES = 10_000_000  # for each service, and as much again for what came before
LOG_CHECK_SECONDS = 5.0


class Stopping(Exception):  # noqa: N818 (not an error: the stack was asked to stop while it started)
    """Starting was called off."""


@dataclass
class Child:
    """A service and its current process."""

    service: Service
    log: Path
    process: subprocess.Popen[bytes]
    started_at: float  # monotonic seconds, as below
    deaths: int = 0  # in a row
    restart_at: float | None = None
    ended: bool = False  # by itself, for good


class Keeper:
    """Starts services in order, restarts those that die, stops them in reverse order.

    One thread must make all calls, and live as long as the services (embedded/processes.py: start).

    Args:
        logs: folder of the log files, `<service>.log`.
        say: told of deaths and restarts.
        stopping: tells whether starting shall be called off.
    """

    def __init__(self, logs: Path, say: Callable[[str], None], stopping: Callable[[], bool]) -> None:
        self._logs = logs
        self._say = say
        self._stopping = stopping
        self._children: dict[str, Child] = {}
        self._logs_checked_at = 0.0

    @property
    def pids(self) -> dict[str, int]:
        """Process id by service."""
        return {name: child.process.pid for name, child in self._children.items()}

    def start(self, service: Service) -> None:
        """Start a service; see wait_until_ready for when it answers."""
        log = self._logs / f"{service.name}.log"
        self._children[service.name] = Child(service, log, start(service, log), time.monotonic())

    def wait_until_ready(self, service: Service) -> None:
        """Return when the service answers; meanwhile keep all services running.

        Raises:
            EmbeddedError: it ends again and again, or takes too long; with its log's last lines.
            Stopping: the stack was asked to stop.
        """
        child = self._children[service.name]
        deadline = time.monotonic() + service.ready_seconds
        while service.ready is not None and not service.ready():
            self.tend()
            if child.deaths >= START_ATTEMPTS or time.monotonic() > deadline:
                raise EmbeddedError(f"{service.name} does not start:\n{tail(child.log)}\nIts log is {child.log}.")
            if self._stopping():
                raise Stopping
            time.sleep(POLL_SECONDS)

    def tend(self) -> None:
        """Note deaths, restart what is due, bound the logs. To be called several times a second."""
        now = time.monotonic()
        for child in self._children.values():
            if child.ended:
                continue
            if child.restart_at is None and child.process.poll() is not None:
                self._note_death(child, now)
            if child.restart_at is not None and child.restart_at <= now:
                self._restart(child)
        if now > self._logs_checked_at + LOG_CHECK_SECONDS:
            self._logs_checked_at = now
            bound_logs(child.log for child in self._children.values())

    def stop_all(self) -> None:
        """Stop everything: first all that uses the servers, at the same time, then each server."""
        servers = [child for child in self._children.values() if child.service.is_server]
        users = [child for child in self._children.values() if not child.service.is_server]
        for group in (users, *([server] for server in reversed(servers))):
            _stop_together(group)
        self._children.clear()

    def _note_death(self, child: Child, now: float) -> None:
        kill_session(child.process)  # what it had started goes with it
        status, lived = child.process.returncode, now - child.started_at
        child.deaths = 1 if lived > HEALTHY_SECONDS else child.deaths + 1
        if status == 0 and child.service.may_end:
            child.ended = True
            self._say(f"{child.service.name} ended as it was asked to; it starts again with the stack.")
            return
        pause = min(LONGEST_PAUSE_SECONDS, 2.0 ** (child.deaths - 1))
        child.restart_at = now + pause
        self._say(
            f"{child.service.name} ended ({_reason(status)}); starting it again in {pause:g} s. Its log is {child.log}."
        )

    def _restart(self, child: Child) -> None:
        child.started_at, child.restart_at = time.monotonic(), None
        try:
            child.process = start(child.service, child.log)
        except (EmbeddedError, OSError) as error:
            child.deaths += 1
            child.restart_at = time.monotonic() + min(LONGEST_PAUSE_SECONDS, 2.0 ** (child.deaths - 1))
            self._say(f"{child.service.name} could not be started again: {error}")


def bound_logs(logs: Iterable[Path]) -> None:
    """Move each log that has grown too long to `<log>.1`; its writer, which appends, goes on in the emptied file."""
    for log in logs:
        with suppress(FileNotFoundError):
            if log.stat().st_size > LOG_BYTES:
                shutil.copyfile(log, log.with_name(f"{log.name}.1"))
                with log.open("r+b") as file:
                    file.truncate(0)


def _stop_together(children: list[Child]) -> None:
    for child in children:
        if child.process.poll() is None:
            child.process.send_signal(child.service.stop_signal)
    asked_at = time.monotonic()
    for child in children:
        left = asked_at + child.service.stop_seconds - time.monotonic()
        with suppress(subprocess.TimeoutExpired):
            child.process.wait(max(0.0, left))
        kill_session(child.process)


def _reason(status: int) -> str:
    return f"status {status}" if status >= 0 else f"signal {signal.Signals(-status).name}"
