"""The whole registry as real processes, each behind the network that the nemesis disturbs, kept running by a Keeper."""

import contextlib
import os
import queue
import shutil
import signal
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import Any, Self

from embedded import keeper
from embedded.keeper import Keeper
from embedded.postgres import Postgres
from embedded.processes import Service
from embedded.programs import Programs, api_service, listen
from embedded.sockets import make_socket_folder
from embedded.valkey import Valkey
from registry.__main__ import migrate
from tests.faults.proxy import Network, Proxy

LEASE_SECONDS = 3.0
# More than anything here needs, and less than the ballast that fills the store.
QUOTA_BYTES = 10**9
TEND_SECONDS = 0.05
POSTGRES, VALKEY, API = "postgres", "valkey", "api"


class Stack:
    """PostgreSQL, Valkey, the api, compute workers and a light one, in one folder.

    Clients and workers reach the servers through proxies; whoever checks asks PostgreSQL directly (`database_url`).
    One thread starts and tends all processes: the kernel ends them with it.
    """

    def __init__(
        self,
        folder: Path,
        *,
        compute_workers: int,
        lease_seconds: float = LEASE_SECONDS,
        settings: Mapping[str, str] = {},
    ) -> None:
        """Start nothing yet; settings are added to every process's environment."""
        self.folder = folder
        self.lease_seconds = lease_seconds
        self._more = settings
        self.network = Network()
        self.proxies: dict[str, Proxy] = {}
        self.url = self.database_url = self.redis_url = ""
        self.workers = [*(f"worker-{number}" for number in range(1, compute_workers + 1)), "worker-light"]
        self._sockets = make_socket_folder()
        self._postgres = Postgres(folder / "postgres", self._sockets, durable=False)
        self._valkey = Valkey(folder / "valkey", self._sockets)
        self._listener = listen(0, print)
        self._asked: queue.SimpleQueue[tuple[Callable[[], Any], Future[Any]] | None] = queue.SimpleQueue()
        self._stopping = threading.Event()
        self._keeper = Keeper(folder / "logs", self._say, self._stopping.is_set)
        self._thread = threading.Thread(target=self._tend, name="supervisor", daemon=True)

    def __enter__(self) -> Self:
        """Start the servers, without api and workers; nothing is disturbed yet."""
        (self.folder / "logs").mkdir(parents=True, exist_ok=True)
        self._thread.start()
        self.network.__enter__()
        try:
            for service in (self._postgres.service(), self._valkey.service()):
                self._do(lambda service=service: self._keeper.start(service))
                self._do(lambda service=service: self._keeper.wait_until_ready(service))
            self._postgres.create_database()
            self.database_url, self.redis_url = self._postgres.url(), self._valkey.url
            migrate(self.database_url)
            self.proxies = {
                POSTGRES: self.network.proxy(POSTGRES, self._sockets / ".s.PGSQL.5432"),
                VALKEY: self.network.proxy(VALKEY, self._valkey.socket),
                API: self.network.proxy(API, self._listener.getsockname()[:2]),
            }
            self.url = f"http://127.0.0.1:{self.proxies[API].port}"
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """Stop everything and delete the database."""
        self._stopping.set()
        for name in (API, *self.workers):
            self.signal(name, signal.SIGCONT)
        self._asked.put(None)
        self._thread.join(timeout=120)
        self.network.__exit__()
        self._listener.close()
        with contextlib.suppress(FileNotFoundError):
            self._postgres.discard()
        shutil.rmtree(self._sockets, ignore_errors=True)

    def start_programs(self) -> None:
        """Start api and workers; return when the api answers."""
        settings = self.settings()
        api = api_service(Programs(), settings, self._listener)
        self._do(lambda: self._keeper.start(api))
        for name in self.workers:
            lane = "light" if name == "worker-light" else "compute"
            worker = Service(name=name, command=Programs().worker, env={**settings, "SAT_LANES": lane})
            self._do(lambda worker=worker: self._keeper.start(worker))
        self._do(lambda: self._keeper.wait_until_ready(api))

    def settings(self) -> dict[str, str]:
        """The environment of every process: servers behind their proxies, short leases, a quota."""
        return {
            "DATABASE_URL": f"postgresql+psycopg://sat@127.0.0.1:{self.proxies[POSTGRES].port}/sat",
            "REDIS_URL": f"redis://127.0.0.1:{self.proxies[VALKEY].port}/0",
            "SAT_ARTIFACTS": str(self.folder / "artifacts"),
            "SAT_CACHE": str(self.folder / "cache"),
            "SAT_ARTIFACTS_QUOTA_BYTES": str(QUOTA_BYTES),
            "SAT_MIN_FREE_BYTES": "0",
            "SAT_DEVICE": "cpu",
            "SAT_LEASE_SECONDS": str(self.lease_seconds),
            "OMP_NUM_THREADS": "1",
            "MKL_NUM_THREADS": "1",
            "OMP_WAIT_POLICY": "PASSIVE",
            "PYTHONUNBUFFERED": "1",
            **self._more,
        }

    def create_database(self, name: str) -> None:
        """One more empty database on the same server."""
        self._postgres.create_database(name)

    def signal(self, name: str, number: signal.Signals) -> int | None:
        """Send a signal to a service's process; return its id, None where it is not running."""
        process_id = self._keeper.pids.get(name)
        if process_id is None or _is_dead(process_id):
            return None
        try:
            os.kill(process_id, number)
        except ProcessLookupError:
            return None
        return process_id

    def process_id(self, name: str) -> int | None:
        """The id of a service's current process."""
        return self._keeper.pids.get(name)

    def said(self, name: str, words: str) -> int:
        """How often the words stand in a service's log."""
        log = self.folder / "logs" / f"{name}.log"
        return log.read_text(errors="replace").count(words) if log.exists() else 0

    def _say(self, sentence: str) -> None:
        with (self.folder / "logs" / "supervisor.log").open("a") as log:
            log.write(f"{time.strftime('%H:%M:%S')} {sentence}\n")

    def _do(self, act: Callable[[], Any]) -> Any:
        """Have the supervising thread do it, and wait."""
        done: Future[Any] = Future()
        self._asked.put((act, done))
        return done.result(timeout=120)

    def _tend(self) -> None:
        # a service that has lived for a second is started again one second after its death, however often
        keeper.HEALTHY_SECONDS = 1.0
        while True:
            try:
                asked = self._asked.get(timeout=TEND_SECONDS)
            except queue.Empty:
                self._keeper.tend()
                continue
            if asked is None:
                self._keeper.stop_all()
                return
            act, done = asked
            try:
                done.set_result(act())
            except BaseException as error:  # noqa: BLE001  whoever asked raises it
                done.set_exception(error)


def _is_dead(process_id: int) -> bool:
    """Whether it has ended, and only its supervisor has not looked yet."""
    try:
        status = Path(f"/proc/{process_id}/stat").read_text(encoding="ascii", errors="replace")
    except FileNotFoundError:
        return True
    return status.rpartition(")")[2].split()[0] == "Z"
