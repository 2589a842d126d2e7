"""How much of requests' bodies is held in memory, of one and of all together, and for how long one may take to come.

Whoever can connect can send bodies, so that no number of them may fill the memory. A route for files counts what it
reads itself; here, it is counted how many of those are read at once.
"""

import asyncio
from collections.abc import Callable, Mapping

from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.access.actors import actor_of
from api.access.policy import required_scope
from api.budget import Budget
from api.problems import RETRY_SECONDS, problem
from registry.errors import InvalidError, RegistryError, TooLargeError, TooSlowError, UnavailableError

KIBIBYTE, MEBIBYTE = 2**10, 2**20
# Bytes of one body: of those that need no key, a key and a path; of most, a card of 100,000 characters; of lists of
# classes (22,000 take less than 1 MB) and plans of many models, more.
STRANGERS_BYTES, USUAL_BYTES, LARGE_BYTES = 8 * KIBIBYTE, MEBIBYTE, 4 * MEBIBYTE
LARGE = frozenset({"/models", "/plan"})
# Bytes of all bodies that are held at once; what becomes of them takes some times as much.
HELD_BYTES, HELD_BY_ONE, HELD_BY_STRANGERS = 16 * MEBIBYTE, 8 * MEBIBYTE, MEBIBYTE
# Files that are read at once: each holds a piece of 1 MiB, and a form its metadata.
FILES, FILES_OF_ONE = 16, 8
# Brackets in one body of JSON: a plan of 10,000 models has 60,000. Each may become an object of a hundred bytes.
MOST_OPENINGS = 100_000
Take = Callable[[int], None]
_TAKE = "sat.take"
_FULL = "too many requests with bodies are being read here now: send it again in a moment."
UPLOADS = frozenset({"/models", "/image-sets"})
PIECES = "/uploads/"


class BodyLimit:
    """Stops reading bodies that are too large, too many, or that stop coming.

    The routes for files count their own bytes. A body of metadata has stall_seconds in all; of a file, each piece.
    """

    def __init__(self, app: ASGIApp, stall_seconds: float) -> None:
        self._app = app
        self._stall_seconds = stall_seconds
        self._known = Budget(HELD_BYTES, HELD_BY_ONE, _FULL)
        self._strangers = Budget(HELD_BY_STRANGERS, HELD_BY_STRANGERS, _FULL)
        self._files = Budget(FILES, FILES_OF_ONE, _FULL)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        if scope["type"] != "http" or scope["method"] in {"GET", "HEAD"}:
            await self._app(scope, receive, send)
            return
        begun = False

        async def noting(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        handle = self._stream if _is_upload(scope) else self._read
        try:
            await handle(scope, receive, noting)
        except (TooLargeError, TooSlowError, UnavailableError, InvalidError) as error:
            if begun:
                raise
            await _refusal(error)(scope, receive, send)

    async def _stream(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand a file's body on as it comes."""
        holder = actor_of(scope).name
        with self._files.holding(holder) as held, self._known.holding(holder) as metadata:
            held.take(1)
            scope[_TAKE] = metadata.take
            await self._app(scope, self._impatient(receive), send)

    async def _read(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand the whole body on at once."""
        is_public = required_scope(scope["method"], scope["path"]) is None
        budget = self._strangers if is_public else self._known
        with budget.holding(actor_of(scope).name) as held:
            limit = STRANGERS_BYTES if is_public else LARGE_BYTES if scope["path"] in LARGE else USUAL_BYTES
            if int(Headers(scope=scope).get("content-length") or 0) > limit:
                raise TooLargeError(_too_large(limit))
            body: bytes | None = await self._whole(receive, limit, held.take)

            async def replay() -> Message:
                nonlocal body
                if body is None:
                    return await receive()
                message, body = {"type": "http.request", "body": body, "more_body": False}, None
                return message

            await self._app(scope, replay, send)

    async def _whole(self, receive: Receive, limit: int, take: Take) -> bytes:
        # one buffer: a body that comes byte by byte would otherwise be a list of its bytes
        body, more = bytearray(), True
        try:
            async with asyncio.timeout(self._stall_seconds):
                while more:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise ClientDisconnect
                    piece = message.get("body", b"")
                    if len(body) + len(piece) > limit:
                        raise TooLargeError(_too_large(limit))
                    take(len(piece))
                    body += piece
                    more = message.get("more_body", False)
        except TimeoutError:
            raise TooSlowError(_stalled(self._stall_seconds)) from None
        require_few_openings(body)
        return bytes(body)

    def _impatient(self, receive: Receive) -> Receive:
        """Pieces of a file, each within the time; TooSlowError otherwise, which the route's error handler answers."""
        done = False

        async def receive_soon() -> Message:
            nonlocal done
            if done:  # the client is listening, and may do so for long
                return await receive()
            try:
                async with asyncio.timeout(self._stall_seconds):
                    message = await receive()
            except TimeoutError:
                raise TooSlowError(_stalled(self._stall_seconds)) from None
            done = not message.get("more_body", False)
            return message

        return receive_soon


def taking(scope: Scope) -> Take:
    """What a route that reads a form calls with the bytes that it keeps in memory; UnavailableError beyond the room."""
    take: Take = scope[_TAKE]
    return take


def require_few_openings(text: bytes | bytearray) -> None:
    """InvalidError for a text that would become a great many objects."""
    if text.count(b"{") + text.count(b"[") > MOST_OPENINGS:
        raise InvalidError(f"the JSON text has more than {MOST_OPENINGS} brackets: send less of it at a time.")


def _refusal(error: RegistryError) -> ASGIApp:
    headers: Mapping[str, str] = {"Connection": "close"}  # the rest of the body is not read
    if isinstance(error, UnavailableError):
        headers = {**headers, "Retry-After": RETRY_SECONDS}
    return problem(error.status, error.title, error.detail, headers=headers)


def _too_large(limit: int) -> str:
    return f"at most {limit} bytes are read here; files go to /models or /image-sets in a multipart form."


def _stalled(seconds: float) -> str:
    return f"the body stopped coming for {seconds:g} seconds: check the connection, and send the request again."


def _is_upload(scope: Scope) -> bool:
    if scope["method"] == "PATCH" and scope["path"].startswith(PIECES):
        return True
    content_type = Headers(scope=scope).get("content-type", "").lower()
    return scope["method"] == "POST" and scope["path"] in UPLOADS and content_type.startswith("multipart/")
