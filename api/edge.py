"""The outermost layer, plain ASGI: request ids, one log line, Host headers, and the last resort."""

import fnmatch
import re
import time
from urllib.parse import SplitResult, urlsplit
from uuid import uuid4

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api import problems
from api.access.actors import REQUEST_ID as REQUEST_ID_ENTRY
from api.problems import problem

REQUEST_ID = "X-Request-Id"
SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
_DEFAULT_PORTS = {"http": 80, "https": 443}
CLIENT_LEFT = 499  # nginx's word for a client that did not wait
_log = structlog.get_logger("api")
_SAFE_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")


class RequestLog:
    """Gives each request an id, logs it once, and turns what nobody caught into a 500 that says only the id."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = Headers(scope=scope).get(REQUEST_ID, "")
        request_id = given if _SAFE_ID.fullmatch(given) else uuid4().hex
        scope[REQUEST_ID_ENTRY] = request_id
        problems.request_id.set(request_id)
        started, status = time.perf_counter(), 0

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)[REQUEST_ID] = request_id
            await send(message)

        try:
            await self._app(scope, receive, send_with_id)
        except ClientDisconnect:
            status = CLIENT_LEFT
        except Exception:  # noqa: BLE001  the last resort
            _log.exception("request failed", request_id=request_id, method=scope["method"], path=scope["path"])
            if status == 0:
                detail = f"this is a fault of the registry; its log knows more under the id {request_id}."
                later = {"Retry-After": problems.RETRY_SECONDS}  # it may be of this moment; clients repeat what is safe
                await problem(500, "Internal Server Error", detail, headers=later)(scope, receive, send_with_id)
        _report(scope, request_id, status, time.perf_counter() - started)


class KnownHosts:
    """Refuses other Host headers than those allowed, and changes that a page of another site asks for.

    The first keeps such a page from reaching loopback under a name of its own. The second is needed because a browser
    sends a form's POST to any address without asking: it comes with the page's `Origin`. What is no browser sends none.
    """

    def __init__(self, app: ASGIApp, allowed: tuple[str, ...]) -> None:
        self._app = app
        self._allowed = tuple(host.lower() for host in allowed)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        app = self._app
        if scope["type"] == "http":
            app = self._refusal(scope["method"], Headers(scope=scope)) or app
        await app(scope, receive, send)

    def _refusal(self, method: str, headers: Headers) -> ASGIApp | None:
        host, origin = headers.get("host", ""), headers.get("origin")
        if "*" not in self._allowed and not self._allows(host):
            detail = "this Host header is not answered here: use the address that the server printed."
            return problem(400, "Unknown host", detail)
        if method in SAFE or origin is None or _is_at(origin, host):
            return None
        if "*" not in self._allowed and self._allows(_split(origin).netloc):
            return None
        detail = (
            f"a page of {origin[:200]!r} may change nothing here: use this server's own pages or a program, or have "
            "its operator add the page's host to SAT_ALLOWED_HOSTS."
        )
        return problem(403, "Foreign page", detail)

    def _allows(self, authority: str) -> bool:
        host = (_split(f"//{authority}").hostname or "").lower()
        return any(fnmatch.fnmatchcase(host, pattern) for pattern in self._allowed)


def _is_at(origin: str, host: str) -> bool:
    """Whether the origin's authority is that of the Host header; a default port may be left out of either."""
    page = _split(origin)
    default = _DEFAULT_PORTS.get(page.scheme)
    here = _authority(page, default)
    return here is not None and here == _authority(_split(f"//{host}"), default)


def _authority(parts: SplitResult, default_port: int | None) -> tuple[str, int | None] | None:
    try:
        return (parts.hostname, parts.port or default_port) if parts.hostname else None
    except ValueError:  # the port is no number, or none that a port can have
        return None


def _split(url: str) -> SplitResult:
    try:
        return urlsplit(url)
    except ValueError:  # brackets that do not match
        return urlsplit("")


def _report(scope: Scope, request_id: str, status: int, seconds: float) -> None:
    # reads are many and say little; what changes something, or failed, is kept
    report = _log.debug if scope["method"] in {"GET", "HEAD"} and status < 500 else _log.info  # noqa: PLR2004  faults
    report(
        "request",
        request_id=request_id,
        method=scope["method"],
        path=scope["path"],
        status=status,
        milliseconds=round(1000 * seconds, 1),
    )
