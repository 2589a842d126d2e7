"""The one-machine stack: PostgreSQL, Valkey, api and workers, supervised in one process for each data folder."""

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

from embedded.errors import EmbeddedError
from embedded.folder import FolderLock, Running, announce, find_announced, make_data_folder, withdraw
from embedded.keeper import Keeper, Stopping
from embedded.postgres import Postgres
from embedded.processes import finish
from embedded.programs import (
    HOST,
    Programs,
    answers,
    api_service,
    compute_worker_count,
    environment,
    listen,
    worker_services,
)
from embedded.sockets import remove_socket_folder, renew_socket_folder
from embedded.valkey import Valkey

_TEND_SECONDS = 0.1
_JOIN_SECONDS = 300.0  # another supervisor may be recovering its database, or ending


class FolderBusyError(EmbeddedError):
    """Another supervisor runs on this data folder."""


class Stack:
    """The whole stack on one data folder, running between entering and leaving a `with` block.

    A thread of its own starts and restarts the children, because the kernel ends them with the thread that
    started them. If this process dies, however it dies, so do they.

    Args:
        home: the data folder, made when missing.
        port: where to listen on loopback, or the next free port; None: SAT_PORT, else 8000.
        compute_workers: how many; None: SAT_WORKERS, else one a core up to four.
        programs: the commands to run; tests run smaller ones.
        say: told what an operator should know, a sentence at a time.

    Raises (on entering):
        FolderBusyError: another stack runs on the folder (see join_or_start).
        EmbeddedError: it cannot start; the message says why.
    """

    def __init__(
        self,
        home: Path,
        *,
        port: int | None = None,
        compute_workers: int | None = None,
        programs: Programs | None = None,
        say: Callable[[str], None] = print,
    ) -> None:
        self.home = home.absolute()
        self.url = self.database_url = self.redis_url = ""  # known once it runs
        self._port = port
        self._compute_workers = compute_worker_count(compute_workers)
        self._programs = programs or Programs()
        self._say = say
        self._stop = threading.Event()
        self._ready = threading.Event()
        self._listener: socket.socket | None = None
        self._failure: BaseException | None = None
        self._keeper = Keeper(self.home / "logs", say, self._stop.is_set)
        self._thread = threading.Thread(target=self._run, name="sat-supervisor", daemon=True)

    @property
    def pids(self) -> dict[str, int]:
        """Process ids by name: postgres, valkey, api, worker-1 …, worker-light."""
        return self._keeper.pids

    def __enter__(self) -> Self:
        """Start everything; return when the api answers."""
        make_data_folder(self.home)
        self._lock = FolderLock(self.home)
        if not self._lock.acquire():
            raise FolderBusyError(f"A stack already runs on {self.home}.")
        self._thread.start()
        try:
            self._ready.wait()
        except BaseException:  # Ctrl-C while starting
            self._end()
            raise
        if self._failure is not None:
            self._end()
            raise self._failure
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop everything, in order, and give the folder back."""
        self._end()

    def _end(self) -> None:
        self._stop.set()
        self._thread.join()
        self._lock.release()

    def _run(self) -> None:
        """The supervising thread: all children are its."""
        withdraw(self.home)
        try:
            self._bring_up()
            self._ready.set()
            while not self._stop.wait(_TEND_SECONDS):
                self._keeper.tend()
        except Stopping:
            pass
        except BaseException as error:  # noqa: BLE001 (raised again in the thread that waits)
            self._failure = error
        finally:
            withdraw(self.home)
            self._keeper.stop_all()
            remove_socket_folder(self.home / "sockets")
            if self._listener is not None:
                self._listener.close()
            self._ready.set()

    def _bring_up(self) -> None:
        sockets = renew_socket_folder(self.home / "sockets")
        postgres = Postgres(self.home / "postgres", sockets, self._say)
        valkey = Valkey(self.home / "valkey", sockets)
        servers = (postgres.service(), valkey.service())
        for service in servers:
            self._keeper.start(service)
        for service in servers:
            self._keeper.wait_until_ready(service)
        postgres.create_database()
        self.database_url, self.redis_url = postgres.url(), valkey.url
        self._start_programs(environment(self.home, self.database_url, self.redis_url))
        announce(self.home, Running(self.url, os.getpid()))

    def _start_programs(self, settings: dict[str, str]) -> None:
        status, output = finish(self._programs.migrate, env=settings)
        (self.home / "logs" / "migrate.log").write_text(output)
        if status != 0:
            raise EmbeddedError(f"The database could not be brought up to date:\n{output.strip()}")
        self._listener = listen(self._port, self._say)  # kept open: connections wait while the api is restarted
        self.url = f"http://{HOST}:{self._listener.getsockname()[1]}"
        api = api_service(self._programs, settings, self._listener)
        self._keeper.start(api)
        for worker in worker_services(self._programs, settings, self._compute_workers):
            self._keeper.start(worker)
        self._keeper.wait_until_ready(api)


@dataclass(frozen=True)
class Handle:
    """A running stack: where it answers, its supervisor's process id, and whether this process started it."""

    url: str
    pid: int
    started: bool


@contextmanager
def join_or_start(
    home: Path,
    port: int | None = None,
    *,
    compute_workers: int | None = None,
    programs: Programs | None = None,
    say: Callable[[str], None] = print,
) -> Iterator[Handle]:
    """Use the stack that runs on the data folder, or run one for as long as the block lasts.

    A joined stack goes on after the block; its own process ends it.

    Raises:
        EmbeddedError: the stack cannot start, or the one that holds the folder does not answer.
    """
    deadline = time.monotonic() + _JOIN_SECONDS
    while True:
        stack = Stack(home, port=port, compute_workers=compute_workers, programs=programs, say=say)
        with ExitStack() as block:
            try:
                block.enter_context(stack)
            except FolderBusyError:
                running = _find_answering(home)
                if running is not None:
                    yield Handle(running.url, running.pid, started=False)
                    return
            else:
                yield Handle(stack.url, os.getpid(), started=True)
                return
        if time.monotonic() > deadline:
            raise EmbeddedError(f"Another process holds {home}, but its api does not answer; see {home / 'logs'}.")
        time.sleep(_TEND_SECONDS)


def _find_answering(home: Path) -> Running | None:
    running = find_announced(home)
    if running is None or not answers(urlsplit(running.url).port or 0):
        return None
    return running
