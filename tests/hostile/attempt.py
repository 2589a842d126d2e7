"""One hostile input: how it is sent, and what became of it."""

import contextlib
import json
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlsplit

import httpx

from tests.live import Live

SLOW_SECONDS = 20.0  # for a refusal; a well-meant request takes milliseconds
PREPARE_SECONDS = 1200.0  # for all that a worker has to refuse


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back: status, whether it was a problem document with a sentence, and the body's start."""

    status: int
    explained: bool
    text: str
    location: str | None = None


@dataclass(frozen=True, slots=True)
class Attempt:
    """A name for the report, and what sends it.

    http: it is HTTP, so that a closed connection is no answer. later: a worker may be the one who refuses it.
    """

    name: str
    send: Callable[[Live], Answer]
    http: bool = True
    later: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one attempt: refused, later (a worker decides), accepted, crashed or slow."""

    name: str
    verdict: str
    seconds: float
    said: str
    location: str | None = None


def judge(attempt: Attempt, live: Live) -> Outcome:
    """Send it, and say what became of it."""
    started = time.monotonic()
    try:
        answer = attempt.send(live)
    except (httpx.HTTPError, OSError) as error:
        # a closed connection is an answer to what is no HTTP, and to a body that goes on after its refusal
        verdict = "crashed" if attempt.http or live.process.poll() is not None else "refused"
        return Outcome(attempt.name, verdict, time.monotonic() - started, repr(error))
    seconds = time.monotonic() - started
    return Outcome(attempt.name, _verdict(attempt, answer, seconds), seconds, answer.text[:300], answer.location)


def _verdict(attempt: Attempt, answer: Answer, seconds: float) -> str:
    if answer.status >= 500 or (answer.status >= 400 and not answer.explained):
        return "crashed"
    if seconds > SLOW_SECONDS:
        return "slow"
    if answer.status >= 400:
        return "refused"
    return "later" if attempt.later and answer.status == 202 and answer.location else "accepted"


def ask(live: Live, method: str, path: str, **options: object) -> Answer:
    """An ordinary request."""
    with httpx.Client(base_url=live.url, headers=live.headers, timeout=120, trust_env=False) as client:
        return of(client.request(method, path, **options))  # type: ignore[arg-type]  # options are httpx's own


def of(response: httpx.Response) -> Answer:
    """What httpx received."""
    return Answer(
        response.status_code,
        _explains(response.headers.get("content-type", ""), response.content),
        response.text,
        response.headers.get("location"),
    )


def send_raw(live: Live, content: bytes, *, then: bytes = b"", wait: float = 0.0) -> Answer:
    """Bytes on a connection, as they are; `then` after `wait` seconds."""
    address = urlsplit(live.url)
    with socket.create_connection((address.hostname or "", address.port or 0), timeout=60) as connection:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # it has refused before all was sent
            connection.sendall(content.replace(b"@KEY@", live.key.encode()))
            time.sleep(wait)
            connection.sendall(then)
        received = b""
        while chunk := connection.recv(65536):
            received += chunk
            if _is_whole(received):
                break
    head, _, body = received.partition(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 "):
        raise ConnectionResetError("it closed the connection")
    content_type = next(
        (line[13:].strip() for line in head.split(b"\r\n") if line.lower().startswith(b"content-type:")), b""
    )
    return Answer(int(head[9:12]), _explains(content_type.decode("latin-1"), body), body.decode(errors="replace"))


def _is_whole(received: bytes) -> bool:
    head, found, body = received.partition(b"\r\n\r\n")
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return bool(found) and len(body) >= int(line[15:])
    return False


def _explains(content_type: str, body: bytes) -> bool:
    if not content_type.startswith("application/problem+json"):
        return False
    problem = json.loads(body)
    return len(problem["detail"]) > 15 and bool(problem["request_id"])
