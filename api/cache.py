"""Answers as bytes, kept until the snapshot they were made from is gone or newer ones need the room."""

import hashlib
from collections import OrderedDict
from dataclasses import dataclass
from typing import NamedTuple

from fastapi import Request, Response

LIMIT_BYTES = 32 * 2**20


@dataclass(frozen=True, slots=True)
class Body:
    """A whole answer; the tag is a hash of the bytes, so equal answers have equal tags on every api process."""

    content: bytes
    tag: str
    media_type: str

    def respond(self, request: Request, status: int = 200) -> Response:
        """The answer, or 304 when the client says that it has it."""
        headers = {"ETag": self.tag, "Cache-Control": "no-cache"}
        if status == 200 and matches(request, self.tag):  # noqa: PLR2004  OK
            return Response(status_code=304, headers=headers)
        return Response(self.content, status_code=status, media_type=self.media_type, headers=headers)


def make_body(content: bytes, media_type: str = "application/json") -> Body:
    """The answer with its tag."""
    return Body(content, tag(content), media_type)


def tag(content: bytes) -> str:
    """A strong entity tag of these bytes."""
    return f'"{hashlib.sha256(content).hexdigest()[:32]}"'


def matches(request: Request, entity_tag: str) -> bool:
    """Whether If-None-Match names this tag (RFC 9110, 13.1.2: weak comparison)."""
    given = request.headers.get("if-none-match")
    if given is None:
        return False
    tags = {each.strip().removeprefix("W/") for each in given.split(",")}
    return "*" in tags or entity_tag in tags


class Key(NamedTuple):
    """What an answer depends on. serial: of the snapshot."""

    serial: int
    path: str
    query: str


class AnswerCache:
    """The most recently used answers, up to a number of bytes. For one thread: the event loop's."""

    def __init__(self, limit_bytes: int = LIMIT_BYTES) -> None:
        self._limit = limit_bytes
        self._size = 0
        self._bodies: OrderedDict[Key, Body] = OrderedDict()

    def get(self, key: Key) -> Body | None:
        """The answer under this key, or None."""
        body = self._bodies.get(key)
        if body is not None:
            self._bodies.move_to_end(key)
        return body

    def put(self, key: Key, body: Body) -> None:
        """Keep the answer; the least recently used make room. One over a quarter of the room is not kept."""
        if key in self._bodies or len(body.content) > self._limit // 4:
            return
        self._bodies[key] = body
        self._size += _weight(key, body)
        while self._size > self._limit:
            self._size -= _weight(*self._bodies.popitem(last=False))


def _weight(key: Key, body: Body) -> int:
    # some 500 bytes of Python objects come with each
    return len(body.content) + len(key.path) + len(key.query) + 500
