"""What a client hears whose request the process cannot finish any more before it ends."""

import asyncio

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.problems import problem

# A supervisor needs about so long to start the process again.
RETRY_SECONDS = "5"


class StopNotice:
    """Answers 503 where a request is cut off because the process stops: an upload that took longer than the grace."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        answered = False

        async def noting(message: Message) -> None:
            nonlocal answered
            answered = True
            await send(message)

        try:
            await self._app(scope, receive, noting)
        except asyncio.CancelledError:
            # the server cancels what is under way when the grace is over, and nothing else does
            if not answered:
                detail = "the server is stopping, and this request was not done: send it again in a moment."
                headers = {"Retry-After": RETRY_SECONDS, "Connection": "close"}
                await problem(503, "Service Unavailable", detail, headers=headers)(scope, receive, send)
            raise
