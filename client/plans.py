"""What a client does, apart from how it waits: generators that ask for exchanges and pauses.

A plan is written once. client/transport.py carries it out and blocks; client/awaiting.py carries it out on an event
loop. A plan yields steps and is sent their results; what it returns, or emits, is the answer.
"""

import time
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Generic, TypeVar
from uuid import uuid4

import httpx

from client.address import HOW
from client.errors import UnreachableError, registry_error

T = TypeVar("T")
Tick = Callable[[int], None]  # called with the number of bytes that went by; negative when a transfer starts again

ATTEMPTS = 5
LONGEST_WAIT_SECONDS = 20.0  # of what Retry-After asks for
# a POST carries an Idempotency-Key, so that the registry gives the same answer again; a PATCH may find itself done
REPEATABLE = frozenset({"GET", "HEAD", "PUT", "DELETE", "POST"})
# a proxy says that it did not reach the registry
GATEWAY = frozenset({502, 504})
BUSY = frozenset({429, 503})
CONFLICT = 409
ABSENT = 404
NEVER_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)


@dataclass(frozen=True, kw_only=True, slots=True)
class Send:
    """Step: exchange one request for its answer, read whole; a good answer's body goes to `sink` where there is one."""

    method: str
    path: str
    options: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    sink: "Sink | None" = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Open:
    """Step: begin a streamed GET; comes back with its head, or with the whole answer where that is an error."""

    path: str
    options: Mapping[str, Any]
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class NextLine:
    """Step: the next line of the open stream; None at its end."""


@dataclass(frozen=True, slots=True)
class Pause:
    """Step: wait."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Emit(Generic[T]):
    """Step: hand one item to whoever iterates."""

    item: T


Step = Send | Open | NextLine | Pause
Plan = Generator[Step, Any, T]
Items = Generator[Step | Emit[T], Any, None]


class Sink:
    """A file that an answer's body is written to: continued where it broke off, if the registry still has the same."""

    def __init__(self, file: IO[bytes], tick: Tick | None) -> None:
        """Write to an open binary file; tick is told the bytes."""
        self._file = file
        self._tick = tick
        self._tag: str | None = None

    def headers(self) -> dict[str, str]:
        """Return what asks for the rest (RFC 9110, 13.1.5); nothing while there is none to continue."""
        if self._tag is None or not self._file.tell():
            return {}
        return {"Range": f"bytes={self._file.tell()}-", "If-Range": self._tag}

    def begin(self, response: httpx.Response) -> None:
        """Take an answer's head: a part goes on after what came before, a whole one takes its place."""
        if response.status_code == httpx.codes.PARTIAL_CONTENT:
            if not response.headers.get("content-range", "").startswith(f"bytes {self._file.tell()}-"):
                raise httpx.RemoteProtocolError("it answered another part than was asked for")
            return
        tag = response.headers.get("etag", "W/")
        self._tag = None if tag.startswith("W/") else tag
        self._report(-self._file.tell())
        self._file.seek(0)
        self._file.truncate()

    def write(self, chunk: bytes) -> None:
        """Take the next bytes."""
        self._file.write(chunk)
        self._report(len(chunk))

    def _report(self, number: int) -> None:
        if self._tick is not None and number:
            self._tick(number)


class Exchanges:
    """Requests to one registry: repeated where that is safe, errors as sentences."""

    def __init__(self, url: str, *, first_wait_seconds: float = 0.2, attempts: int = ATTEMPTS) -> None:
        """first_wait_seconds is the pause before the first repetition; it doubles after each."""
        self.url = url
        self._first_wait_seconds = first_wait_seconds
        self._attempts = attempts

    def request(self, method: str, path: str, *, sink: Sink | None = None, **options: Any) -> Plan[httpx.Response]:
        """Return the answer.

        Connection errors, 502, 504, and 429 and 503 with Retry-After are tried again: a request that never left in any
        case, others where the method is repeatable. All attempts of a POST carry one Idempotency-Key; what a repeated
        DELETE does not find, the one before has deleted.

        Raises:
            RegistryError: the registry refused; the subclass goes by status.
            UnreachableError: nothing answered, or not a registry.
        """
        headers = dict(options.pop("headers", {}))
        if method == "POST":
            headers.setdefault("Idempotency-Key", uuid4().hex)
        wait, perhaps_done = self._first_wait_seconds, False
        for attempts_left in range(self._attempts - 1, -1, -1):
            asked = headers if sink is None else headers | sink.headers()
            try:
                response: httpx.Response = yield Send(
                    method=method, path=path, options=options, headers=asked, sink=sink
                )
            except httpx.TransportError as error:
                if not attempts_left or not (method in REPEATABLE or isinstance(error, NEVER_SENT)):
                    raise self.unreachable(error) from error
                perhaps_done = perhaps_done or not isinstance(error, NEVER_SENT)
                yield Pause(wait)
            else:
                if method == "DELETE" and perhaps_done and response.status_code == ABSENT:
                    return response
                perhaps_done = perhaps_done or response.status_code in GATEWAY
                seconds = _seconds_to_repeat(method, response, wait)
                if not attempts_left or seconds is None:
                    return self.checked(response)
                yield Pause(seconds)
            wait *= 2
        raise AssertionError("the last attempt returns or raises")

    def answer(self, method: str, path: str, **options: Any) -> Plan[Any]:
        """Return the JSON that `request` brings back."""
        response = yield from self.request(method, path, **options)
        try:
            return response.json()
        except ValueError:
            raise self._stranger(response) from None

    def download(self, path: str, to: Path, tick: Tick | None = None) -> Plan[Path]:
        """Stream an answer's body into the file `to`, which appears whole or not at all, and return it."""
        to.parent.mkdir(parents=True, exist_ok=True)
        unfinished = to.with_name(f".{to.name}.part")
        try:
            with unfinished.open("wb") as file:
                yield from self.request("GET", path, sink=Sink(file, tick))
            unfinished.replace(to)
        finally:
            unfinished.unlink(missing_ok=True)
        return to

    def checked(self, response: httpx.Response) -> httpx.Response:
        """Return a good answer; raise what any other stands for."""
        if response.is_error:
            raise registry_error(response.status_code, self._problem(response), retry_after(response))
        if response.is_redirect:
            raise self._stranger(response)
        return response

    def unreachable(self, error: httpx.TransportError) -> UnreachableError:
        """Return what a broken connection means for whoever asked."""
        if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
            return UnreachableError(f"No registry answers at {self.url}. {HOW}")
        if isinstance(error, httpx.TimeoutException):
            return UnreachableError(f"The registry at {self.url} took too long to answer: try again.")
        reason = str(error) or type(error).__name__
        return UnreachableError(f"The connection to {self.url} broke ({reason}): try again.")

    def _problem(self, response: httpx.Response) -> Mapping[str, object]:
        try:
            problem = response.json()
        except ValueError:
            problem = None
        if not isinstance(problem, dict):
            raise self._stranger(response)
        return problem

    def _stranger(self, response: httpx.Response) -> UnreachableError:
        kind = response.headers.get("content-type", "no content type")
        return UnreachableError(
            f"{self.url} answers, but not as a SAT registry does ({response.status_code}, {kind}): check the URL."
        )


def retry_after(response: httpx.Response) -> float | None:
    """Return the seconds that Retry-After asks for; None without the header, or with a date in it."""
    try:
        return max(float(response.headers["retry-after"]), 0.0)
    except (KeyError, ValueError):
        return None


def late(deadline: float) -> bool:
    """Return whether the moment of the monotonic clock is over."""
    return time.monotonic() >= deadline


def _seconds_to_repeat(method: str, response: httpx.Response, wait: float) -> float | None:
    """Return how long to wait before the same request is sent again; None where the answer stands."""
    asked, status = retry_after(response), response.status_code
    if status in GATEWAY:
        return wait if method in REPEATABLE else None
    # 409 to a POST: the first sending of the same Idempotency-Key is still being answered
    if asked is None or not (status in BUSY or (status == CONFLICT and method == "POST")):
        return None
    return min(asked, LONGEST_WAIT_SECONDS)
