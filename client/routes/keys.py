"""Keys: who may ask."""

from client.plans import Items, Plan
from client.routes.base import RouteBase, given, in_path
from client.shapes import Identity, Key, NewKey


class KeyRoutes(RouteBase):
    """`/keys`, `/session`."""

    def keys(self) -> Items[Key]:
        """Yield all keys, revoked and expired ones included; for admins."""
        return self._all("/keys", {})

    def create_key(
        self, name: str, *, scope: str = "read", team: str | None = None, expires_at: str | None = None
    ) -> Plan[NewKey]:
        """Make a key; `key` in the answer is the key itself, which is shown this once."""
        body = given({"name": name, "scope": scope, "team": team, "expires_at": expires_at})
        return self._exchanges.answer("POST", "/keys", json=body)

    def revoke_key(self, name: str) -> Plan[None]:
        """End the key within two seconds, for good."""
        yield from self._exchanges.request("DELETE", f"/keys/{in_path(name)}")

    def identity(self) -> Plan[Identity]:
        """Return whom this client's key stands for."""
        return self._exchanges.answer("GET", "/session")
