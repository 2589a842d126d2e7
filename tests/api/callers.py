"""Keys of each scope in a test's database, and clients that send them."""

from collections.abc import Iterator
from contextlib import contextmanager

from registry.access import LOCAL
from registry.database import Sessions
from registry.keys import create_key
from registry.tables import Scope
from tests.api.conftest import Api


def make_key(sessions: Sessions, name: str, scope: Scope, team: str = "vision") -> str:
    """A new key, as an operator makes it."""
    with sessions.begin() as session:
        _, secret = create_key(session, name=name, scope=scope, team=team, expires_at=None, actor=LOCAL)
    return secret


def bearer(secret: str) -> dict[str, str]:
    """The header that presents a key."""
    return {"Authorization": f"Bearer {secret}"}


@contextmanager
def presenting(api: Api, secret: str) -> Iterator[Api]:
    """The client, whose requests present the key for as long as the block lasts."""
    api.headers["Authorization"] = f"Bearer {secret}"
    try:
        yield api
    finally:
        del api.headers["Authorization"]
