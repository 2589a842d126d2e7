"""Headers that keep browsers from doing more with an answer than was meant; on every answer, errors included.

There is no Access-Control-Allow-Origin: pages of other origins read nothing here (CORS is off).
Strict-Transport-Security is left to the proxy that speaks HTTPS: over plain HTTP, browsers do not heed it.
"""

from starlette.types import ASGIApp, Message, Receive, Scope, Send

# JSON needs nothing; a page says what it needs
_POLICY = (
    b"content-security-policy",
    b"default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
)
_ALWAYS = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    # not no-referrer: with that, browsers send a form's Origin as `null`
    (b"referrer-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
)
# of an answer that is no page
SECURITY_HEADERS = (*_ALWAYS, _POLICY)


class SecureHeaders:
    """Adds them, outside everything else."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = message["headers"]
                own = () if any(name == _POLICY[0] for name, _ in headers) else (_POLICY,)
                # a new list: the one given may be kept for the next answer
                message = {**message, "headers": [*headers, *_ALWAYS, *own]}
            await send(message)

        await self._app(scope, receive, send_with_headers)
