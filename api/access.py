"""Who may ask: one plain ASGI layer in front of everything that answers."""

from starlette.types import ASGIApp, Receive, Scope, Send

from api.actors import set_actor
from registry.access import LOCAL


class Access:
    """Lets a request pass with the name of whoever sent it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        set_actor(scope, LOCAL)
        await self._app(scope, receive, send)
