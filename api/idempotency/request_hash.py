"""The sha256 of a request while it comes in: of its method, path and body.

A form's boundary, which clients draw at random for each attempt, does not count.
"""

import hashlib
from collections.abc import Callable

from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.datastructures import Headers
from starlette.types import Message, Receive, Scope


class RequestHash:
    """Reads a request's body, for a route or on its own, and hashes what it reads."""

    def __init__(self, scope: Scope, receive: Receive) -> None:
        content_type, options = parse_options_header(Headers(scope=scope).get("content-type", ""))
        boundary = options.get(b"boundary")
        self.is_form = content_type == b"multipart/form-data" and bool(boundary)
        self.on_end: Callable[[bytes], None] = lambda _: None
        self._receive = receive
        self._ahead: list[Message] = []
        self._ended = False
        self._hash = hashlib.sha256()
        for text in (scope["method"].encode(), scope["path"].encode(), scope["query_string"], content_type):
            self._hash.update(hashlib.sha256(text).digest())
        self._form = _FormHash(boundary) if self.is_form and boundary else None

    async def receive(self) -> Message:
        """The next message, as the server has it."""
        if self._ahead:
            return self._ahead.pop(0)
        message = await self._receive()
        if message["type"] == "http.request" and not self._ended:
            self._take(message.get("body", b""))
            if not message.get("more_body", False):
                self._ended = True
                self.on_end(self._digest())
        return message

    async def read_ahead(self) -> None:
        """Read the whole body, which `receive` then gives out again."""
        read = []
        while not self._ended:
            read.append(await self.receive())
            if read[-1]["type"] == "http.disconnect":
                break
        self._ahead = read

    async def read_whole(self) -> bytes:
        """Read the body, keeping nothing of it; the sha256, b"" where the client left."""
        while not self._ended:
            if (await self.receive())["type"] == "http.disconnect":
                return b""
        return self._digest()

    def _take(self, text: bytes) -> None:
        if self._form is not None:
            self._form.take(text)
        else:
            self._hash.update(text)

    def _digest(self) -> bytes:
        whole = self._hash.copy()
        if self._form is not None:
            whole.update(self._form.digest())
        return whole.digest()


class _FormHash:
    """The sha256 of a form's fields: their names and contents, in order."""

    def __init__(self, boundary: bytes) -> None:
        self._whole = hashlib.sha256()
        self._part = hashlib.sha256()
        self._header = (bytearray(), bytearray())
        self._broken = False
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._begin,
                "on_header_field": lambda text, start, end: self._header[0].extend(text[start:end]),
                "on_header_value": lambda text, start, end: self._header[1].extend(text[start:end]),
                "on_header_end": self._end_header,
                "on_part_data": lambda text, start, end: self._part.update(memoryview(text)[start:end]),
                "on_part_end": self._end,
            },
        )

    def take(self, text: bytes) -> None:
        """Go on with the next bytes; what is no form is refused by the route that reads it too."""
        if self._broken:
            return
        try:
            self._parser.write(text)
        except MultipartParseError:
            self._broken = True

    def digest(self) -> bytes:
        """Of all that came; no form that was done is equal to a broken one."""
        return b"" if self._broken else self._whole.digest()

    def _begin(self) -> None:
        self._part = hashlib.sha256()
        self._header = (bytearray(), bytearray())

    def _end_header(self) -> None:
        name, value = self._header
        if name.lower() == b"content-disposition":
            _, options = parse_options_header(bytes(value))
            self._whole.update(hashlib.sha256(options.get(b"name", b"")).digest())
        self._header = (bytearray(), bytearray())

    def _end(self) -> None:
        self._whole.update(self._part.digest())
