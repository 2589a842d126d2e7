"""Answers as bytes, kept until the snapshot they were made from is gone or newer ones need the room."""

import hashlib
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from fastapi import Request, Response

from registry.reads.snapshot import Snapshot

LIMIT_BYTES = 32 * 2**20
Peek = Callable[[str | None, str | None], Snapshot | None]


@dataclass(frozen=True)
class Body:
    """A whole answer; the tag is a hash of the bytes, so equal answers have equal tags on every api process."""

    content: bytes
    tag: str
    media_type: str

    @cached_property
    def headers(self) -> list[tuple[bytes, bytes]]:
        """As ASGI sends them; a 304 has the first two."""
        return [
            (b"etag", self.tag.encode()),
            (b"cache-control", b"no-cache"),
            (b"content-type", self.media_type.encode()),
            (b"content-length", str(len(self.content)).encode()),
        ]

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
    return given is not None and names(given, entity_tag)


def names(if_none_match: str, entity_tag: str) -> bool:
    """Whether the header's value names this tag."""
    tags = {each.strip().removeprefix("W/") for each in if_none_match.split(",")}
    return "*" in tags or entity_tag in tags


class Address(NamedTuple):
    """What was asked for, as it stood in the request line."""

    path: str
    query: bytes


class Source(NamedTuple):
    """A snapshot that an answer was made from: how it was selected, and its serial."""

    image_set: str | None
    protocol: str | None
    serial: int


class AnswerCache:
    """The most recently used answers, up to a number of bytes. For one thread: the event loop's.

    peek: finds the snapshot that a selection has now. An answer is given only while it has what it was made from.
    """

    def __init__(self, peek: Peek, limit_bytes: int = LIMIT_BYTES) -> None:
        self._peek = peek
        self._limit = limit_bytes
        self._size = 0
        self._kept: OrderedDict[Address, tuple[Body, tuple[Source, ...]]] = OrderedDict()

    def get(self, address: Address) -> Body | None:
        """The answer at this address as of now, or None."""
        kept = self._kept.get(address)
        if kept is None:
            return None
        body, sources = kept
        for image_set, protocol, serial in sources:
            snapshot = self._peek(image_set, protocol)
            if snapshot is None or snapshot.serial != serial:
                return None
        self._kept.move_to_end(address)
        return body

    def put(self, address: Address, body: Body, *sources: Source) -> None:
        """Keep the answer; the least recently used make room. One over a quarter of the room is not kept."""
        if len(body.content) > self._limit // 4:
            return
        older = self._kept.pop(address, None)
        if older is not None:
            self._size -= _weight(address, older[0])
        self._kept[address] = body, sources
        self._size += _weight(address, body)
        while self._size > self._limit:
            oldest, (content, _) = self._kept.popitem(last=False)
            self._size -= _weight(oldest, content)


def _weight(address: Address, body: Body) -> int:
    # some 800 bytes of Python objects come with each
    return len(body.content) + len(address.path) + len(address.query) + 800
