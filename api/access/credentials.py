"""The key that a request carries: in its Authorization header, or in the cookie that a page was given for one."""

from collections.abc import Iterable
from http.cookies import CookieError, SimpleCookie
from typing import NamedTuple

COOKIE = "sat_session"
_BEARER = b"bearer "
# said by proxies: whoever they speak for is not on this machine
_PROXIED = frozenset(
    {b"forwarded", b"x-forwarded-for", b"x-forwarded-host", b"x-forwarded-proto", b"x-real-ip", b"via"}
)


class Credential(NamedTuple):
    """What was presented, whatever its form."""

    secret: bytes
    by_cookie: bool


def presented(headers: Iterable[tuple[bytes, bytes]]) -> Credential | None:
    """What the request presents; None for nothing at all. A header goes before a cookie."""
    cookie = None
    for name, value in headers:
        if name == b"authorization":
            is_bearer = value[: len(_BEARER)].lower() == _BEARER
            return Credential(value[len(_BEARER) :].strip() if is_bearer else b"", by_cookie=False)
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
    return None if morsel is None else Credential(morsel.value.encode("latin-1", "replace"), by_cookie=True)
