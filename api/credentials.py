"""The key that a request carries: in its Authorization header, or in the cookie that a page was given for one."""

from collections.abc import Iterable
from http.cookies import CookieError, SimpleCookie
from typing import NamedTuple

from registry.keys import is_secret

COOKIE = "sat_session"
_BEARER = b"bearer "
# said by proxies: whoever they speak for is not on this machine
_PROXIED = frozenset({b"forwarded", b"x-forwarded-for", b"x-forwarded-host", b"x-real-ip", b"via"})


class Credential(NamedTuple):
    """What was presented. secret: None where it has not a key's form."""

    secret: str | None
    by_cookie: bool


def presented(headers: Iterable[tuple[bytes, bytes]]) -> Credential | None:
    """What the request presents; None for nothing at all. A header goes before a cookie."""
    cookie = None
    for name, value in headers:
        if name == b"authorization":
            text = value[len(_BEARER) :].strip() if value[: len(_BEARER)].lower() == _BEARER else b""
            return Credential(_as_secret(text.decode("latin-1")), by_cookie=False)
        if name == b"cookie":
            cookie = value
    return None if cookie is None else _in_cookie(cookie.decode("latin-1"))


def came_through_a_proxy(headers: Iterable[tuple[bytes, bytes]]) -> bool:
    """Whether a proxy says that it speaks for somebody else."""
    return any(name in _PROXIED for name, _ in headers)


def _in_cookie(text: str) -> Credential | None:
    try:
        morsel = SimpleCookie(text).get(COOKIE)
    except CookieError:
        return None
    return None if morsel is None else Credential(_as_secret(morsel.value), by_cookie=True)


def _as_secret(text: str) -> str | None:
    return text if is_secret(text) else None
