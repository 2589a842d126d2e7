"""HEAD for every route that answers GET: the same answer, without its body (RFC 9110, 9.3.2)."""

from contextlib import suppress

import anyio
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_NO_BODY: Message = {"type": "http.response.body", "body": b""}


class _EnoughError(BaseException):
    """Ends an answer whose body nobody gets. No Exception: what handles faults is not to take it for one."""


class Heads:
    """Has the layers within answer a HEAD as a GET, and sends what comes before the body.

    What a body is streamed to hears that the client is gone; a file is given up at its second part.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self._app(scope, receive, send)
            return

        asked, ended = False, anyio.Event()

        async def receive_once() -> Message:
            nonlocal asked
            if not asked:
                asked = True
                return await receive()
            await ended.wait()
            return {"type": "http.disconnect"}

        async def send_head(message: Message) -> None:
            if message["type"] != "http.response.body":
                await send(message)
            elif not ended.is_set():
                await send(_NO_BODY)
                ended.set()
            else:
                raise _EnoughError

        with suppress(_EnoughError):
            await self._app({**scope, "method": "GET"}, receive_once, send_head)
