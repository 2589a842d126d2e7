"""Clients that register models over HTTP until each is acknowledged, look at them, and write every answer down."""

import contextlib
import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import httpx

from client.errors import ClientError, RegistryError, UnreachableError
from client.registry import Registry
from tests.faults.zoo import Entry

SERVER_ERRORS = 500
CONFLICT = 409
PATIENCE_SECONDS = 1.0
IMPATIENT = httpx.Timeout(20.0)


@dataclass(frozen=True, slots=True)
class Exchange:
    """One request as it ended: with a status and the headers that matter, or with a broken connection."""

    method: str
    path: str
    status: int | None
    content_type: str = ""
    retry_after: str | None = None
    error: str | None = None

    def complaint(self) -> str | None:
        """What is wrong with the answer: anything that is neither a result nor a problem that says when to return."""
        if self.status is None:
            return None  # the api was killed, or the connection cut
        what = f"{self.method} {self.path} was answered {self.status}"
        if self.status >= SERVER_ERRORS:
            if not self.content_type.startswith("application/problem+json"):
                return f"{what} as {self.content_type or 'nothing'}"
            return None if self.retry_after else f"{what} without Retry-After"
        return None


@dataclass(slots=True)
class Diary:
    """What the clients saw: every exchange, every acknowledgement, and everything that they did not understand."""

    exchanges: list[Exchange] = field(default_factory=list)
    acknowledged: list[str] = field(default_factory=list)
    surprises: list[str] = field(default_factory=list)
    path: Path | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def note(self, exchange: Exchange) -> None:
        """Write one exchange down, on disk too."""
        with self._lock:
            self.exchanges.append(exchange)
            if self.path is not None:
                with self.path.open("a") as log:
                    log.write(json.dumps(asdict(exchange)) + "\n")


@contextlib.contextmanager
def watching(diary: Diary) -> Iterator[None]:
    """Note every exchange of this process's httpx clients while the block runs, repeated ones included."""
    handle = httpx.HTTPTransport.handle_request

    def noting(self: httpx.HTTPTransport, request: httpx.Request) -> httpx.Response:
        method, path = request.method, request.url.path
        try:
            response = handle(self, request)
        except httpx.TransportError as error:
            diary.note(Exchange(method, path, None, error=type(error).__name__))
            raise
        headers = response.headers
        diary.note(
            Exchange(method, path, response.status_code, headers.get("content-type", ""), headers.get("retry-after"))
        )
        return response

    httpx.HTTPTransport.handle_request = noting  # type: ignore[method-assign]  # the one place all requests pass
    try:
        yield
    finally:
        httpx.HTTPTransport.handle_request = handle  # type: ignore[method-assign]  # as above


class Client:
    """One client's thread: registers its models, each when its turn has come, and looks around in between."""

    def __init__(
        self, url: str, entries: Sequence[Entry], turns: Sequence[float], clock: Callable[[], float], diary: Diary
    ) -> None:
        """Take turns: when the clock (0 to 1) reaches turns[i], entries[i] is registered."""
        self._url = url
        self._plan = list(zip(turns, entries, strict=True))
        self._clock = clock
        self._diary = diary
        self._stopping = threading.Event()
        self.thread = threading.Thread(target=self._run, name="client", daemon=True)

    def stop(self) -> None:
        """Give up what is not acknowledged yet."""
        self._stopping.set()

    def _run(self) -> None:
        try:
            with Registry(self._url) as registry:
                for turn, entry in self._plan:
                    while self._clock() < turn and not self._stopping.is_set():
                        self._look(registry)
                        time.sleep(0.3)
                    self._register(registry, entry)
                while self._clock() < 1 and not self._stopping.is_set():
                    self._look(registry)
                    time.sleep(0.3)
        except Exception as error:  # noqa: BLE001  whatever a client meets belongs into the diary
            self._diary.surprises.append(f"a client ended: {type(error).__name__}: {error}")

    def _register(self, registry: Registry, entry: Entry) -> None:
        """Send it until it is acknowledged; a registry that is away, or full, is asked again."""
        while not self._stopping.is_set():
            done, _ = self._ask(lambda: registry.register(entry.metadata, entry.checkpoint))
            if done:
                self._diary.acknowledged.append(entry.name)
                return
            time.sleep(PATIENCE_SECONDS)

    def _look(self, registry: Registry) -> None:
        """Read what a user would: each acknowledged model must be found, whatever else there is to say."""
        self._ask(lambda: registry.jobs(limit=5))
        for name in self._diary.acknowledged[-2:]:
            found, model = self._ask(lambda name=name: registry.model(name))
            if found and model["name"] != name:
                self._diary.surprises.append(f"asked for {name}, got {model['name']}")
            self._ask(lambda name=name: registry.similar(name, k=5))

    def _ask(self, act: Callable[[], Any]) -> tuple[bool, Any]:
        """Whether it was answered, and the answer; refusals that no fault explains are surprises."""
        try:
            return True, act()
        except UnreachableError as error:
            if "not as a SAT registry" in str(error):
                self._diary.surprises.append(str(error))
        except RegistryError as error:
            later = error.status >= SERVER_ERRORS or (error.status == CONFLICT and error.retry_after is not None)
            if not later:
                self._diary.surprises.append(f"refused: {error}")
        except ClientError as error:
            self._diary.surprises.append(f"{type(error).__name__}: {error}")
        return False, None
