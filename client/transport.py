"""HTTP as the client needs it: retried where that is safe, streamed where it is large, errors as sentences."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, TypeVar
from urllib.parse import urlsplit

import httpx

from client.address import HOW
from client.errors import BusyError, UnreachableError, registry_error

T = TypeVar("T")
Tick = Callable[[int], None]  # called with the number of bytes that went by

ATTEMPTS = 5
LONGEST_WAIT_SECONDS = 20.0  # of what Retry-After asks for
IDEMPOTENT = frozenset({"GET", "HEAD", "DELETE"})
LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
# a large upload is hashed before the answer comes
TIMEOUT = httpx.Timeout(10.0, read=300.0, write=120.0)
CHUNK_BYTES = 1 << 18


class Transport:
    """One connection pool to one registry."""

    def __init__(self, url: str, *, first_wait_seconds: float = 0.2) -> None:
        """Open nothing yet; first_wait_seconds doubles after every failed attempt."""
        self.url = url
        self._first_wait_seconds = first_wait_seconds
        # a proxy of the environment cannot reach this machine's own loopback
        direct = urlsplit(url).hostname in LOOPBACK
        self._http = httpx.Client(base_url=url, timeout=TIMEOUT, trust_env=not direct)

    def close(self) -> None:
        """Close the pool."""
        self._http.close()

    def request(self, method: str, path: str, **options: Any) -> httpx.Response:
        """Return the answer, read whole.

        Connection errors and 503 with Retry-After are tried again when the method is idempotent.

        Raises:
            RegistryError: the registry refused; the subclass goes by status.
            UnreachableError: nothing answered, or not a registry.
        """

        def exchange() -> httpx.Response:
            with self._answer(method, path, options) as response:
                response.read()
            return response

        return self._repeated(exchange, ATTEMPTS if method in IDEMPOTENT else 1)

    def answer(self, method: str, path: str, **options: Any) -> Any:
        """Return the JSON that `request` brings back."""
        response = self.request(method, path, **options)
        try:
            return response.json()
        except ValueError:
            raise self._stranger(response) from None

    def download(self, path: str, to: Path, tick: Tick | None = None) -> Path:
        """Stream an answer's body into the file `to`, which appears whole or not at all, and return it."""
        to.parent.mkdir(parents=True, exist_ok=True)
        unfinished = to.with_name(f".{to.name}.part")

        def exchange() -> None:
            with self._answer("GET", path, {}) as response, unfinished.open("wb") as file:
                for chunk in response.iter_bytes(CHUNK_BYTES):
                    file.write(chunk)
                    if tick is not None:
                        tick(len(chunk))

        try:
            self._repeated(exchange, ATTEMPTS)
            unfinished.replace(to)
        finally:
            unfinished.unlink(missing_ok=True)
        return to

    @contextmanager
    def _answer(self, method: str, path: str, options: Mapping[str, Any]) -> Iterator[httpx.Response]:
        """Yield a good answer whose body may still be coming."""
        with self._http.stream(method, path, **options) as response:
            if response.is_error:
                response.read()
                raise registry_error(response.status_code, self._problem(response), _retry_after(response))
            if response.is_redirect:
                raise self._stranger(response)
            yield response

    def _repeated(self, exchange: Callable[[], T], attempts: int) -> T:
        wait = self._first_wait_seconds
        for _ in range(attempts - 1):
            try:
                return exchange()
            except httpx.TransportError:
                time.sleep(wait)
            except BusyError as error:
                if error.retry_after is None:
                    raise
                time.sleep(min(error.retry_after, LONGEST_WAIT_SECONDS))
            wait *= 2
        try:
            return exchange()
        except httpx.TransportError as error:
            raise self._unreachable(error) from error

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

    def _unreachable(self, error: httpx.TransportError) -> UnreachableError:
        if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
            return UnreachableError(f"No registry answers at {self.url}. {HOW}")
        if isinstance(error, httpx.TimeoutException):
            return UnreachableError(f"The registry at {self.url} took too long to answer: try again.")
        reason = str(error) or type(error).__name__
        return UnreachableError(f"The connection to {self.url} broke ({reason}): try again.")


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
        """Move as the file does; httpx rewinds before it sends."""
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        """Return the file's position."""
        return self._file.tell()

    def fileno(self) -> int:
        """Return the file's descriptor, from which httpx learns the length."""
        return self._file.fileno()


def _retry_after(response: httpx.Response) -> float | None:
    """Return the seconds that Retry-After asks for; None without the header, or with a date in it."""
    try:
        return max(float(response.headers["retry-after"]), 0.0)
    except (KeyError, ValueError):
        return None
