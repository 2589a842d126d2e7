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

from tests.faults.stack import API, POSTGRES, QUOTA_BYTES, VALKEY, Stack


class Kind(StrEnum):
    """What can be done to a stack."""

    KILL_WORKER = "kill worker"
    KILL_API = "kill api"
    KILL_POSTGRES = "kill postgres"
    KILL_VALKEY = "kill valkey"
    FLUSH_VALKEY = "empty valkey"
    FREEZE_WORKER = "freeze worker"
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
    Kind.FILL_STORE: 8,
    Kind.CUT: 18,
    Kind.DELAY: 12,
    Kind.REFUSE: 10,
}
PROXIED = (POSTGRES, VALKEY, API)
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
        Kind.FREEZE_WORKER: (chance.choice(workers), lease_seconds * chance.uniform(1.3, 2.5)),
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
        self.done: list[Fault] = []
        self.error: Exception | None = None

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def fraction(self) -> float:
        """How much of the plan is done."""
        return len(self.done) / max(1, len(self._faults))

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
                self._do(fault)
                self.done.append(fault)
                self._note(number, fault, time.monotonic() - began)
                self._pass(fault.pause)
        except Exception as error:  # noqa: BLE001  the run's own thread raises it
            self.error = error
        finally:
            self._end_all()

    def _note(self, number: int, fault: Fault, at: float) -> None:
        self._say(f"{at:6.1f} s  fault {number:3d}/{len(self._faults)}: {fault.describe()}")
        line = {"at": round(at, 2), "kind": fault.kind, "target": fault.target, "seconds": round(fault.seconds, 2)}
        with self._log.open("a") as log:
            log.write(json.dumps(line) + "\n")

    def _do(self, fault: Fault) -> None:
        stack, target = self._stack, fault.target
        match fault.kind:
            case Kind.KILL_WORKER | Kind.KILL_API | Kind.KILL_POSTGRES | Kind.KILL_VALKEY:
                stack.signal(target, signal.SIGKILL)
            case Kind.FLUSH_VALKEY:
                # it may be down: then it is as good as empty
                with contextlib.suppress(RedisError), _redis(stack) as redis:
                    redis.flushall()
            case Kind.FREEZE_WORKER:
                frozen = stack.signal(target, signal.SIGSTOP)
                self._later(fault.seconds, lambda: _thaw(stack, target, frozen))
            case Kind.FILL_STORE:
                if _weigh(stack, QUOTA_BYTES):
                    self._later(fault.seconds, lambda: _weigh(stack, 0))
            case Kind.CUT:
                stack.proxies[target].cut()
            case Kind.DELAY:
                stack.proxies[target].delay(0.05, fault.seconds)
            case Kind.REFUSE:
                stack.proxies[target].refuse(fault.seconds)

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


def _thaw(stack: Stack, name: str, process_id: int | None) -> bool:
    if process_id is not None and stack.process_id(name) == process_id:
        stack.signal(name, signal.SIGCONT)
    return True


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
