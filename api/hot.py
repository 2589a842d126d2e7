"""The innermost ASGI layer: answers that are kept as bytes go out ahead of routing, and old ones say how old they are.

It stands inside the layer that decides who may ask: what it gives is the same for everybody who may read.
"""

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.cache import Address, Body, make_body, names
from api.services import Services

# A view is read at least once a second. One older than this is not kept current: its answers carry their `Age`.
CURRENT_SECONDS = 2.0
_NO_BODY: Message = {"type": "http.response.body", "body": b""}


class HotAnswers:
    """Answers a GET from the cache, with 304 where the client has it; else lets the routes answer."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        if scope["type"] != "http" or scope["method"] != "GET":
            await self._app(scope, receive, send)
            return
        services: Services = scope["app"].state.services
        age = services.watch.age_seconds()
        if age is not None and age > CURRENT_SECONDS:
            send = _aged(send, int(age))
        body = services.cache.get(Address(scope["path"], scope["query_string"]))
        if body is None:
            await self._app(scope, receive, Tagging(scope, send))
        else:
            await _respond(body, scope, send)


class Tagging:
    """Gives an answer that came without a tag the one of its bytes, and 304 in its place where the client has it.

    Only those that say how long they are: what is streamed has a tag of its own, or (events) none.
    """

    def __init__(self, scope: Scope, send: Send) -> None:
        self._scope = scope
        self._send = send
        self._start: Message | None = None

    async def __call__(self, message: Message) -> None:
        """Send one message, or hold the first until the second is there."""
        if message["type"] == "http.response.start" and _is_untagged(message):
            self._start = message
            return
        start, self._start = self._start, None
        if start is not None:
            if not message.get("more_body", False):
                body = make_body(message.get("body", b""))
                headers = MutableHeaders(scope=start)
                headers["ETag"] = body.tag
                headers.setdefault("Cache-Control", "no-cache")
                if _has(self._scope, body.tag):
                    start, message = {**start, "status": 304}, _NO_BODY
                    del headers["content-length"], headers["content-type"]
                    start["headers"] = headers.raw
            await self._send(start)
        await self._send(message)


def _is_untagged(message: Message) -> bool:
    names_given = {name.lower() for name, _ in message["headers"]}
    return message["status"] == 200 and b"etag" not in names_given and b"content-length" in names_given  # noqa: PLR2004  OK


def _has(scope: Scope, entity_tag: str) -> bool:
    """Whether the client says that it has what this tag is of."""
    given = next((value for name, value in scope["headers"] if name == b"if-none-match"), None)
    return given is not None and names(given.decode("latin-1"), entity_tag)


async def _respond(body: Body, scope: Scope, send: Send) -> None:
    if _has(scope, body.tag):
        await send({"type": "http.response.start", "status": 304, "headers": body.headers[:2]})
        await send(_NO_BODY)
        return
    await send({"type": "http.response.start", "status": 200, "headers": body.headers})
    await send({"type": "http.response.body", "body": body.content})


def _aged(send: Send, seconds: int) -> Send:
    """Adds the seconds for which the database was not seen (RFC 9111, 5.1) to what was read from memory."""

    async def send_with_age(message: Message) -> None:
        if message["type"] == "http.response.start" and message["status"] in {200, 304}:
            headers = MutableHeaders(scope=message)
            if "etag" in headers:
                headers["Age"] = str(seconds)
        await send(message)

    return send_with_age
