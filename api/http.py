"""uvicorn's HTTP with bounded heads: its parser would keep the header of a stranger's choice of length in memory."""

import json
from uuid import uuid4

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MAX_HEAD_BYTES = 64 * 2**10  # request line and headers; what one read of the socket brings (256 KiB) may come on top
_PHRASES = {400: "Bad Request", 431: "Request Header Fields Too Large"}


class BoundedHttp(HttpToolsProtocol):
    """One connection; what is no HTTP, or has no end of headers, is answered with a problem document and closed."""

    _head_bytes: int | None = None  # of a request whose headers are not complete

    def on_message_begin(self) -> None:
        """A request begins."""
        self._head_bytes = 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Its headers are all there."""
        self._head_bytes = None
        super().on_headers_complete()

    def data_received(self, data: bytes) -> None:
        """Bytes came."""
        super().data_received(data)
        if self._head_bytes is not None and not self.transport.is_closing():
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD_BYTES:
                self._refuse(431, f"the headers are longer than {MAX_HEAD_BYTES} bytes: send fewer or shorter ones.")

    def send_400_response(self, msg: str) -> None:
        """What the parser could not read."""
        self._refuse(400, f"this is no request that can be read as HTTP/1.1 ({msg.rstrip('.').lower()}).")

    def _refuse(self, status: int, detail: str) -> None:
        request_id = uuid4().hex
        problem = {"type": "about:blank", "title": _PHRASES[status], "status": status, "detail": detail}
        body = json.dumps(problem | {"request_id": request_id})
        head = (
            f"HTTP/1.1 {status} {_PHRASES[status]}\r\nContent-Type: application/problem+json\r\n"
            f"Content-Length: {len(body)}\r\nX-Request-Id: {request_id}\r\nConnection: close\r\n\r\n"
        )
        self.transport.write((head + body).encode("ascii"))
        self.transport.close()
