"""What an administrator does now and then."""

from typing import Any

from client.plans import Plan
from client.routes.base import RouteBase


class UpkeepRoutes(RouteBase):
    """`/gc`, `/doctor`."""

    def collect_garbage(self, *, dry_run: bool = False) -> Plan[dict[str, Any]]:
        """Remove what is no longer needed, for some seconds (`more` says that something may be left); return counts."""
        return self._exchanges.answer("POST", "/gc", params={"dry_run": dry_run})

    def doctor(self) -> Plan[dict[str, Any]]:
        """Return what the quick checks find wrong."""
        return self._get("/doctor", {})

    def verify(self, after: str | None = None) -> Plan[dict[str, Any]]:
        """Return what one page of the deep checks finds wrong; `next` is the `after` of the next page."""
        return self._get("/doctor", {"deep": True, "after": after})
