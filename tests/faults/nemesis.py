"""The nemesis: a seeded list of faults, done to a stack one after another, and logged a line each."""

import contextlib
import hashlib
import heapq
import json
import random
import signal
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import psycopg
from redis import Redis
from redis.exceptions import RedisError

from api.services import IDLE_SECONDS as API_IDLE_SECONDS
from tests.faults.aim import freeze_at_work, freeze_in_transaction, thaw
from tests.faults.stack import API, POSTGRES, QUOTA_BYTES, VALKEY, Stack


class Kind(StrEnum):
    """What can be done to a stack."""

    KILL_WORKER = "kill worker"
    KILL_API = "kill api"
    KILL_POSTGRES = "kill postgres"
    KILL_VALKEY = "kill valkey"
    FLUSH_VALKEY = "empty valkey"
    FREEZE_WORKER = "freeze worker"
    FREEZE_API = "freeze api"
    FILL_STORE = "fill store"
    CUT = "cut connections"
    DELAY = "delay connections"
    REFUSE = "refuse connections"


# Of a hundred. Kills of workers and servers cost the most: a worker loads torch for seconds.
SHARES = {
    Kind.KILL_WORKER: 10,
    Kind.KILL_API: 8,
    Kind.KILL_POSTGRES: 8,
    Kind.KILL_VALKEY: 8,
    Kind.FLUSH_VALKEY: 10,
    Kind.FREEZE_WORKER: 8,
    Kind.FREEZE_API: 2,
    Kind.FILL_STORE: 8,
    Kind.CUT: 16,
    Kind.DELAY: 12,
    Kind.REFUSE: 10,
}
PROXIED = (POSTGRES, VALKEY, API)
# A fault that meets nothing (its process is dead, nobody is connected) waits for so long for something to meet; one for
# a worker in the middle of a job, until one has started and been given a job.
PATIENCE_SECONDS, PATIENCE_FOR_WORK_SECONDS = 5.0, 30.0
AIM_SECONDS = 1.0
BALLAST = hashlib.sha256(b"ballast").digest()


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault: to what, for how long, and how long after it the next one comes (seconds)."""

    kind: Kind
    target: str
    seconds: float
    pause: float

    def describe(self) -> str:
        """Return it in words."""
        lasting = f" for {self.seconds:.1f} s" if self.seconds else ""
        return f"{self.kind} ({self.target}){lasting}"


def plan(seed: int, n: int, workers: Sequence[str], *, lease_seconds: float, pause: float) -> list[Fault]:
    """N faults; the same seed gives the same. Every kind comes, in the shares above."""
    # a choice of what to break needs no secrecy
    chance = random.Random(seed)
    kinds = [kind for kind, share in SHARES.items() for _ in range(max(1, round(n * share / 100)))]
    chance.shuffle(kinds)
    kinds = [*kinds, *chance.choices(list(SHARES), list(SHARES.values()), k=n)][:n]
    return [_fault(kind, chance, workers, lease_seconds, pause) for kind in kinds]


def _fault(kind: Kind, chance: random.Random, workers: Sequence[str], lease_seconds: float, pause: float) -> Fault:
    target, seconds = {
        Kind.KILL_WORKER: (chance.choice(workers), 0.0),
        Kind.KILL_API: (API, 0.0),
        Kind.KILL_POSTGRES: (POSTGRES, 0.0),
        Kind.KILL_VALKEY: (VALKEY, 0.0),
        Kind.FLUSH_VALKEY: (VALKEY, 0.0),
        # whichever is in the middle of a job; long enough for its lease to run out after a restart of PostgreSQL, too
        Kind.FREEZE_WORKER: ("worker", lease_seconds * chance.uniform(2.0, 3.5)),
        Kind.FREEZE_API: (API, API_IDLE_SECONDS * chance.uniform(1.1, 1.3)),
        Kind.FILL_STORE: ("artifacts", chance.uniform(0.5, 3.0)),
        Kind.CUT: (chance.choice(PROXIED), 0.0),
        Kind.DELAY: (chance.choice(PROXIED), chance.uniform(0.5, 2.5)),
        Kind.REFUSE: (chance.choice(PROXIED), chance.uniform(0.2, 1.5)),
    }[kind]
    return Fault(kind, target, seconds, chance.uniform(0.3, 1.7) * pause)


class Nemesis:
    """Carries faults out in a thread of its own. What lasts is ended in time, whatever comes between."""

    def __init__(self, stack: Stack, faults: Sequence[Fault], log: Path, say: Callable[[str], None]) -> None:
        self._stack = stack
        self._faults = faults
        self._log = log
        self._say = say
        self._endings: list[tuple[float, int, Callable[[], bool]]] = []
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="nemesis", daemon=True)
        self._tried = 0
        self.done: list[Fault] = []
        self.missed: list[Fault] = []
        self.error: Exception | None = None

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def fraction(self) -> float:
        """How much of the plan is done, or was tried in vain."""
        return self._tried / max(1, len(self._faults))

    def wait(self) -> None:
        """Return when everything is done and has ended."""
        self._thread.join()
        if self.error is not None:
            raise self.error

    def stop(self) -> None:
        """Break nothing more; end what lasts."""
        self._stopping.set()
        self._thread.join()

    def _run(self) -> None:
        began = time.monotonic()
        try:
            for number, fault in enumerate(self._faults, start=1):
                if self._stopping.is_set():
                    break
                struck = self._strike(fault)
                (self.done if struck else self.missed).append(fault)
                self._tried = number
                self._note(number, fault, time.monotonic() - began, struck=struck)
                self._pass(fault.pause)
        except Exception as error:  # noqa: BLE001  the run's own thread raises it
            self.error = error
        finally:
            self._end_all()

    def _note(self, number: int, fault: Fault, at: float, *, struck: bool) -> None:
        met = "" if struck else ": met nothing"
        self._say(f"{at:6.1f} s  fault {number:3d}/{len(self._faults)}: {fault.describe()}{met}")
        line = {"at": round(at, 2), "kind": fault.kind, "target": fault.target, "seconds": round(fault.seconds, 2)}
        with self._log.open("a") as log:
            log.write(json.dumps(line | {"struck": struck}) + "\n")

    def _strike(self, fault: Fault) -> bool:
        """Whether the fault met something, if need be after some waiting."""
        patience = PATIENCE_FOR_WORK_SECONDS if fault.kind is Kind.FREEZE_WORKER else PATIENCE_SECONDS
        until = time.monotonic() + patience
        while not (struck := self._do(fault)) and time.monotonic() < until and not self._stopping.is_set():
            self._end_due()
            time.sleep(0.1)
        return struck

    def _do(self, fault: Fault) -> bool:
        """Whether it met something: a process that lived, a connection, a database that took the ballast."""
        stack, target, struck = self._stack, fault.target, False
        match fault.kind:
            case Kind.KILL_WORKER | Kind.KILL_API | Kind.KILL_POSTGRES | Kind.KILL_VALKEY:
                struck = stack.signal(target, signal.SIGKILL) is not None
            case Kind.FLUSH_VALKEY:
                struck = _flush(stack)
            case Kind.FREEZE_WORKER:
                struck = self._thaw_later(freeze_at_work(stack, stack.workers, AIM_SECONDS), fault.seconds)
            case Kind.FREEZE_API:
                struck = self._thaw_later(freeze_in_transaction(stack, AIM_SECONDS), fault.seconds)
            case Kind.FILL_STORE:
                struck = _weigh(stack, QUOTA_BYTES)
                if struck:
                    self._later(fault.seconds, lambda: _weigh(stack, 0))
            case Kind.CUT:
                struck = stack.proxies[target].cut() > 0
            case Kind.DELAY:
                struck = stack.proxies[target].delay(0.05, fault.seconds) > 0
            case Kind.REFUSE:
                struck = stack.proxies[target].refuse(fault.seconds) > 0
        return struck

    def _thaw_later(self, frozen: tuple[str, int] | None, seconds: float) -> bool:
        if frozen is None:
            return False
        name, process_id = frozen

        def end() -> bool:
            thaw(self._stack, name, process_id)
            return True

        self._later(seconds, end)
        return True

    def _later(self, seconds: float, end: Callable[[], bool]) -> None:
        heapq.heappush(self._endings, (time.monotonic() + seconds, id(end), end))

    def _pass(self, seconds: float) -> None:
        """Let the time go by, ending what is due."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0 and not self._stopping.is_set():
            self._end_due()
            time.sleep(min(0.05, left))

    def _end_due(self) -> None:
        while self._endings and self._endings[0][0] <= time.monotonic():
            _, _, end = heapq.heappop(self._endings)
            if not end():
                self._later(0.2, end)
                return

    def _end_all(self) -> None:
        while self._endings:
            self._end_due()
            time.sleep(0.05)
        for proxy in self._stack.proxies.values():
            proxy.heal()


def _flush(stack: Stack) -> bool:
    with contextlib.suppress(RedisError), _redis(stack) as redis:
        redis.flushall()
        return True
    return False


def _weigh(stack: Stack, n_bytes: int) -> bool:
    """Have the store hold a ballast of that size, as its bookkeeping sees it; whether the database could be asked."""
    address = stack.database_url.replace("+psycopg", "")
    try:
        with psycopg.connect(address, autocommit=True, connect_timeout=2) as connection:
            if n_bytes:
                connection.execute(
                    "insert into artifacts (sha256, kind, bytes, state) values (%s, 'ballast', %s, 'stored')"
                    " on conflict do nothing",
                    [BALLAST, n_bytes],
                )
            else:
                connection.execute("delete from artifacts where sha256 = %s", [BALLAST])
    except psycopg.OperationalError:
        return False
    return True


def _redis(stack: Stack) -> Redis:
    return Redis.from_url(stack.redis_url.replace("redis+socket://", "unix://"), socket_timeout=2)
