"""Who may ask: one plain ASGI layer in front of everything that answers, caches included. It denies by default."""

from collections.abc import Mapping

from fastapi.concurrency import run_in_threadpool
from starlette.types import ASGIApp, Receive, Scope, Send

from api.access.actors import REQUEST_ID, set_actor
from api.access.credentials import came_through_a_proxy, presented
from api.access.keyring import KeyRing
from api.access.limiting import WriteLimit
from api.access.policy import required_scope
from api.access.signing_in import sign_in_page, wants_page
from api.problems import RETRY_SECONDS, problem
from api.services import Services
from registry.access import LOCAL, Actor
from registry.errors import ForbiddenError, RegistryError, UnauthorizedError, UnavailableError
from registry.settings import KeyMode
from registry.tables import Scope as KeyScope

SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
NOBODY = Actor(name="nobody", team="", scope=KeyScope.READ)
_CHALLENGE = 'Bearer realm="sat-registry"'


class Access:
    """Lets a request pass under the name of whoever sent it, if that one may send it; routes cannot go round it.

    Nothing but HTTP passes: there are no web sockets here.
    """

    def __init__(self, app: ASGIApp, mode: KeyMode) -> None:
        self._app = app
        self._open = mode is KeyMode.LOOPBACK

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        if scope["type"] == "http":
            refusal = self._refuse_proxied(scope) if self._open else await _refuse(scope)
            await (refusal or self._app)(scope, receive, send)
        elif scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        else:
            await send({"type": "websocket.close", "code": 1008})

    def _refuse_proxied(self, scope: Scope) -> ASGIApp | None:
        if came_through_a_proxy(scope["headers"]):
            return _problem(
                scope,
                403,
                "Forbidden",
                "this registry asks for no keys and so answers this machine alone, but a proxy speaks for somebody "
                "else here: run it with SAT_KEYS=required.",
            )
        set_actor(scope, LOCAL)
        return None


async def _refuse(scope: Scope) -> ASGIApp | None:
    """The answer to a request that may not pass; None for one that may, whose actor is then known."""
    method, path = scope["method"], scope["path"]
    needed = required_scope(method, path)
    if needed is None:
        set_actor(scope, NOBODY)
        return None
    services: Services = scope["app"].state.services
    try:
        actor = await _identify(scope, services.keys)
    except RegistryError as error:
        return _refused(scope, error)
    if not actor.may(needed):
        return _too_little(scope, actor, needed)
    set_actor(scope, actor)
    return None if method in SAFE else await _refuse_too_many(scope, services.writes, actor)


async def _identify(scope: Scope, keys: KeyRing) -> Actor:
    """Whom the request's key stands for; UnauthorizedError without one that is valid."""
    credential = presented(scope["headers"])
    if credential is None:
        raise UnauthorizedError("this needs a key: send it as `Authorization: Bearer sat_…`.")
    if credential.by_cookie and scope["method"] not in SAFE and not _names_its_page(scope):
        raise ForbiddenError("a change on behalf of a page needs the Origin header that every browser sends.")
    actor = keys.peek(credential.secret) or await keys.find(credential.secret)
    if actor is None:
        raise UnauthorizedError(
            "this key is unknown, expired or revoked: ask an administrator for one.", error="invalid_token"
        )
    return actor


async def _refuse_too_many(scope: Scope, limit: WriteLimit, actor: Actor) -> ASGIApp | None:
    seconds = await run_in_threadpool(limit.hit, actor.name)
    if seconds is None:
        return None
    detail = (
        f"this key has made {limit.per_minute} changes within a minute: go on in {seconds} s. The operator sets how "
        "many with SAT_WRITES_PER_MINUTE."
    )
    return _problem(scope, 429, "Too many requests", detail, {"Retry-After": str(seconds)})


def _refused(scope: Scope, error: RegistryError) -> ASGIApp:
    headers = {"Retry-After": RETRY_SECONDS} if isinstance(error, UnavailableError) else {}
    if isinstance(error, UnauthorizedError):
        # RFC 6750: no error is named where no key was sent
        reason = f', error="{error.extras["error"]}"' if error.extras else ""
        headers = {"WWW-Authenticate": _CHALLENGE + reason}
        if wants_page(scope):
            return sign_in_page(scope, headers)
    return _problem(scope, error.status, error.title, error.detail, headers)


def _too_little(scope: Scope, actor: Actor, needed: KeyScope) -> ASGIApp:
    challenge = {"WWW-Authenticate": f'{_CHALLENGE}, error="insufficient_scope", scope="{needed}"'}
    detail = f"this needs a key with the scope `{needed}`; {actor.name!r} has `{actor.scope}`."
    return _problem(scope, 403, "Forbidden", detail, challenge)


def _problem(scope: Scope, status: int, title: str, detail: str, headers: Mapping[str, str] = {}) -> ASGIApp:
    return problem(status, title, detail, {"request_id": scope.get(REQUEST_ID)}, headers)


def _names_its_page(scope: Scope) -> bool:
    """Whether the request has an Origin: the layer before this one has then found it to be a page of this server."""
    return any(name == b"origin" for name, _ in scope["headers"])
