"""Plans carried out one step after another, blocking: what `sat` and scripts use."""

import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import IO, Any, Self, TypeVar
from urllib.parse import urlsplit

import httpx

from client.address import LOOPBACK
from client.plans import ATTEMPTS, Emit, Exchanges, Items, NextLine, Open, Pause, Plan, Send, Step, Tick

__all__ = ["ATTEMPTS", "CountedFile", "Tick", "Transport", "settings_of"]

T = TypeVar("T")
# a large upload is hashed before the answer comes
TIMEOUT = httpx.Timeout(10.0, read=300.0, write=120.0)
HURRIED = httpx.Timeout(1.0)
CHUNK_BYTES = 1 << 18


class Transport:
    """One connection pool to one registry."""

    def __init__(
        self, url: str, *, key: str | None = None, first_wait_seconds: float = 0.2, hurry: bool = False
    ) -> None:
        """Open nothing yet; the key goes with every request. hurry: one attempt that may take a second."""
        self.url = url
        self.exchanges = Exchanges(url, first_wait_seconds=first_wait_seconds, attempts=1 if hurry else ATTEMPTS)
        timeout = HURRIED if hurry else TIMEOUT
        self._http = httpx.Client(timeout=timeout, **settings_of(url, key))

    def close(self) -> None:
        """Close the pool."""
        self._http.close()

    def run(self, plan: Plan[T]) -> T:
        """Carry the plan out and return its result."""
        with closing(plan), _Steps(self._http) as steps:
            result, error = None, None
            while True:
                try:
                    step = plan.throw(error) if error is not None else plan.send(result)
                except StopIteration as end:
                    answer: T = end.value
                    return answer
                result, error = steps.take(step)

    def iterate(self, plan: Items[T]) -> Iterator[T]:
        """Carry the plan out as far as its items are asked for; yield them."""
        with closing(plan), _Steps(self._http) as steps:
            result, error = None, None
            while True:
                try:
                    step = plan.throw(error) if error is not None else plan.send(result)
                except StopIteration:
                    return
                if isinstance(step, Emit):
                    yield step.item
                    result, error = None, None
                else:
                    result, error = steps.take(step)

    def request(self, method: str, path: str, **options: Any) -> httpx.Response:
        """Return the answer, as `Exchanges.request` does."""
        return self.run(self.exchanges.request(method, path, **options))

    def answer(self, method: str, path: str, **options: Any) -> Any:
        """Return the JSON of an answer."""
        return self.run(self.exchanges.answer(method, path, **options))

    def download(self, path: str, to: Path, tick: Tick | None = None) -> Path:
        """Stream an answer's body into the file `to`, which appears whole or not at all, and return it."""
        return self.run(self.exchanges.download(path, to, tick))


class _Steps:
    """Takes the steps of one plan; holds the stream that it has open."""

    def __init__(self, http: httpx.Client) -> None:
        self._http = http
        self._stream: httpx.Response | None = None
        self._lines: Iterator[str] = iter(())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._stream is not None:
            self._stream.close()

    def take(self, step: Step) -> tuple[Any, BaseException | None]:
        """Return the step's result, or the error that the plan is to hear of."""
        try:
            return self._take(step), None
        except httpx.TransportError as error:
            return None, error

    def _take(self, step: Step) -> Any:
        match step:
            case Send():
                return self._send(step)
            case Pause(seconds):
                return time.sleep(seconds)
            case Open():
                return self._open(step)
            case NextLine():
                return next(self._lines, None)

    def _send(self, step: Send) -> httpx.Response:
        with self._http.stream(step.method, step.path, headers=dict(step.headers), **step.options) as response:
            if step.sink is None or not response.is_success:
                response.read()
                return response
            step.sink.begin(response)
            for chunk in response.iter_bytes(CHUNK_BYTES):
                step.sink.write(chunk)
            return response

    def _open(self, step: Open) -> httpx.Response:
        self.__exit__()
        request = self._http.build_request("GET", step.path, headers=dict(step.headers), **step.options)
        self._stream = self._http.send(request, stream=True)
        if not self._stream.is_success:
            self._stream.read()
        self._lines = self._stream.iter_lines()
        return self._stream


class CountedFile:
    """A file for an upload that tells how many bytes have been read from it."""

    def __init__(self, file: IO[bytes], tick: Tick) -> None:
        """Count what is read from an open binary file."""
        self._file = file
        self._tick = tick

    def read(self, size: int = -1) -> bytes:
        """Read and count."""
        chunk = self._file.read(size)
        self._tick(len(chunk))
        return chunk

    def seek(self, offset: int, whence: int = 0) -> int:
        """Move as the file does, and count back; httpx rewinds before it sends."""
        before = self._file.tell()
        after = self._file.seek(offset, whence)
        if after != before:
            self._tick(after - before)
        return after

    def tell(self) -> int:
        """Return the file's position."""
        return self._file.tell()

    def fileno(self) -> int:
        """Return the file's descriptor, from which httpx learns the length."""
        return self._file.fileno()


def settings_of(url: str, key: str | None) -> dict[str, Any]:
    """Return what either kind of httpx client is made with."""
    return {
        "base_url": url,
        # a proxy of the environment cannot reach this machine's own loopback
        "trust_env": urlsplit(url).hostname not in LOOPBACK,
        "headers": {} if key is None else {"Authorization": f"Bearer {key}"},
    }
