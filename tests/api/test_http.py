"""What is bounded before a request is one: heads in length and time, connections, requests sent ahead."""

import asyncio
import json
import socket
import threading
import time
from collections.abc import Iterator

import pytest
import uvicorn
from starlette.responses import PlainTextResponse

from api import http
from api.headers import SECURITY_HEADERS
from api.http import BoundedHttp

HEAD_SECONDS = 0.6


class Impatient(BoundedHttp):
    """The same, for tests that do not wait for fifteen seconds."""

    head_seconds = HEAD_SECONDS


@pytest.fixture
def port() -> Iterator[int]:
    """A server whose one answer takes a fifth of a second."""

    async def app(scope, receive, send) -> None:
        await asyncio.sleep(0.2)
        await PlainTextResponse("answered")(scope, receive, send)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = uvicorn.Server(uvicorn.Config(app, http=Impatient, ws="none", lifespan="off", log_config=None))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        yield listener.getsockname()[1]
        server.should_exit = True
        thread.join()


def connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=5)


def everything(connection: socket.socket) -> bytes:
    """All that comes until the connection is closed."""
    received = b""
    try:
        while chunk := connection.recv(65536):
            received += chunk
    except ConnectionResetError:  # it was closed before it had read all
        pass
    return received


def refusal(answer: bytes) -> tuple[int, str]:
    """Status and detail of an answer that is a problem document with every security header."""
    head, _, body = answer.partition(b"\r\n\r\n")
    lines = head.lower().split(b"\r\n")
    assert b"content-type: application/problem+json" in lines, answer
    assert {name + b": " + value.lower() for name, value in SECURITY_HEADERS} <= set(lines)
    problem = json.loads(body)
    assert problem["request_id"]
    return int(head[9:12]), problem["detail"]


def test_a_head_that_comes_too_slowly_is_408(port: int) -> None:
    with connect(port) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n")
        started = time.monotonic()
        for _ in range(3):
            time.sleep(0.15)
            connection.sendall(b"X: y\r\n")
        status, detail = refusal(everything(connection))
    assert (status, "within 0.6 seconds" in detail) == (408, True)
    assert time.monotonic() - started < 2


def test_a_connection_that_says_nothing_is_closed_without_an_answer(port: int) -> None:
    with connect(port) as connection:
        started = time.monotonic()
        assert everything(connection) == b""
    assert HEAD_SECONDS / 2 < time.monotonic() - started < 2


def test_a_request_in_time_is_answered_and_the_next_on_its_connection_too(port: int) -> None:
    with connect(port) as connection:
        for _ in range(6):  # longer than a head may take, in all
            connection.sendall(b"GET / HTTP/1.1\r\n")
            connection.sendall(b"Host: x\r\n\r\n")
            assert b"200 OK" in connection.recv(4096)


def test_what_is_no_http_and_a_head_that_is_too_long_are_refused_with_every_header(port: int) -> None:
    for content, expected in ((b"\x16\x03\x01\r\n\r\n", 400), (b"GET / HTTP/1.1\r\nX: " + b"a" * 70_000, 431)):
        with connect(port) as connection:
            connection.sendall(content)
            assert refusal(everything(connection))[0] == expected


def test_all_heads_together_are_bounded_and_whole_ones_still_pass(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "MAX_HEADS_BYTES", 100_000)
    with connect(port) as one, connect(port) as two, connect(port) as three:
        for connection in (one, two):
            connection.sendall(b"GET / HTTP/1.1\r\nX: " + b"a" * 60_000)
        assert refusal(everything(two))[0] == 503
        three.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert everything(three).endswith(b"answered")
        assert refusal(everything(one))[0] == 408
    assert BoundedHttp._heads_bytes == 0


def test_connections_are_bounded_and_one_that_ends_makes_room(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "MAX_CONNECTIONS", 2)
    one, two = connect(port), connect(port)
    with connect(port) as third:
        status, detail = refusal(everything(third))
    assert (status, "2 connections" in detail) == (503, True)
    one.close()
    time.sleep(0.1)
    with connect(port) as fourth, two:
        fourth.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert everything(fourth).endswith(b"answered")


def test_few_requests_may_be_sent_ahead_and_not_thousands(port: int) -> None:
    request = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
    with connect(port) as connection:
        connection.sendall(request * 3 + request.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
        assert everything(connection).count(b"answered") == 4
    with connect(port) as connection:
        connection.sendall(request * 5000)
        assert everything(connection).count(b"answered") <= 1
