"""uvicorn's HTTP, bounded: heads in length and time, connections in number, requests that wait behind one another.

Its parser would keep a header of a stranger's choice of length in memory, and wait for the rest of it for ever.
"""

import json
from asyncio import TimerHandle, Transport
from typing import ClassVar
from uuid import uuid4

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from api.headers import SECURITY_HEADERS

MAX_HEAD_BYTES = 64 * 2**10  # request line and headers; what one read of the socket brings (256 KiB) may come on top
# Of all connections' heads that are not complete. Nearly every head comes whole, and then counts for nothing here.
MAX_HEADS_BYTES = 8 * 2**20
# Twice as many as may follow events; an idle one takes some 10 kB.
MAX_CONNECTIONS = 2048
# Requests that a client sends ahead on one connection: one read could bring thousands.
MAX_AHEAD = 64
HEAD_SECONDS = 15.0
_PHRASES = {
    400: "Bad Request",
    408: "Request Timeout",
    431: "Request Header Fields Too Large",
    503: "Service Unavailable",
}


class BoundedHttp(HttpToolsProtocol):
    """One connection; what is no HTTP, or has no end of headers, is answered with a problem document and closed."""

    head_seconds: ClassVar[float] = HEAD_SECONDS
    _heads_bytes: ClassVar[int] = 0  # of all connections' incomplete heads; for one thread, the event loop's

    _head_bytes: int | None = None  # of a request whose headers are not complete
    _counted: int = 0  # of those, what _heads_bytes holds
    _head_timer: TimerHandle | None = None

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """Somebody has connected."""
        super().connection_made(transport)
        if len(self.connections) > MAX_CONNECTIONS:
            self._refuse(503, f"{MAX_CONNECTIONS} connections are open here already: try again in a moment.")
        else:
            self._watch_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone."""
        self._end_head()
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        """A request begins."""
        self._head_bytes = 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Its headers are all there."""
        self._end_head()
        super().on_headers_complete()
        if len(self.pipeline) > MAX_AHEAD:
            raise ValueError("too many requests ahead")  # the parser stops, and data_received refuses

    def data_received(self, data: bytes) -> None:
        """Bytes came."""
        super().data_received(data)
        if self._head_bytes is not None and not self.transport.is_closing():
            self._count_head(len(data))

    def send_400_response(self, msg: str) -> None:
        """What the parser could not read."""
        self._refuse(400, f"this is no request that can be read as HTTP/1.1 ({msg.rstrip('.').lower()}).")

    def _count_head(self, size: int) -> None:
        self._head_bytes = (self._head_bytes or 0) + size
        self._counted += size
        BoundedHttp._heads_bytes += size
        if self._head_timer is None:
            self._watch_head()
        if self._head_bytes > MAX_HEAD_BYTES:
            self._refuse(431, f"the headers are longer than {MAX_HEAD_BYTES} bytes: send fewer or shorter ones.")
        elif BoundedHttp._heads_bytes > MAX_HEADS_BYTES:
            self._refuse(503, "too many requests begin here and do not go on: send it again in a moment.")

    def _watch_head(self) -> None:
        self._head_timer = self.loop.call_later(self.head_seconds, self._give_up)

    def _end_head(self) -> None:
        self._head_bytes = None
        BoundedHttp._heads_bytes -= self._counted
        self._counted = 0
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _give_up(self) -> None:
        self._head_timer = None
        if self._head_bytes is None:  # not a byte came: browsers connect ahead, and expect no answer to nothing
            self.transport.close()
        else:
            self._refuse(408, f"the headers did not come within {self.head_seconds:g} seconds: send the request again.")

    def _refuse(self, status: int, detail: str) -> None:
        """Answer and close; where another answer is under way on the connection, only close."""
        if self.transport.is_closing():
            return
        if self.cycle is None or self.cycle.response_complete:
            self.transport.write(_problem(status, detail))
        self._end_head()
        self.transport.close()


def _problem(status: int, detail: str) -> bytes:
    request_id = uuid4().hex
    described = {"type": "about:blank", "title": _PHRASES[status], "status": status, "detail": detail}
    body = json.dumps(described | {"request_id": request_id}).encode()
    headers = [
        (b"content-type", b"application/problem+json"),
        (b"content-length", b"%d" % len(body)),
        (b"x-request-id", request_id.encode()),
        (b"connection", b"close"),
        *SECURITY_HEADERS,
        *([(b"retry-after", b"1")] if status == 503 else []),  # noqa: PLR2004  unavailable, for now
    ]
    head = f"HTTP/1.1 {status} {_PHRASES[status]}\r\n".encode()
    return head + b"".join(name + b": " + value + b"\r\n" for name, value in headers) + b"\r\n" + body
