"""Aliases, the audit log, webhooks: who is called what, who changed it, who is told."""

from typing import Any

from client.plans import Items, Plan
from client.routes.base import RouteBase, given, in_path
from client.shapes import Alias, AuditEntry, Delivery, Webhook


class NamingRoutes(RouteBase):
    """`/aliases`, `/audit`, `/webhooks`."""

    def aliases(self) -> Items[Alias]:
        """Yield all aliases."""
        return self._all("/aliases", {})

    def set_alias(self, alias: str, model: str, *, protected: bool | None = None) -> Plan[Alias]:
        """Let the alias name the model; protected=None leaves that as it is."""
        body = given({"model": model, "protected": protected})
        return self._exchanges.answer("PUT", f"/aliases/{in_path(alias)}", json=body)

    def delete_alias(self, alias: str) -> Plan[None]:
        """Free the alias; its model stays."""
        return self._delete(f"/aliases/{in_path(alias)}")

    def audit(self, /, **filters: Any) -> Items[AuditEntry]:
        """Yield who changed what (action, subject, actor), the newest first; for admins."""
        return self._all("/audit", filters)

    def webhooks(self) -> Items[Webhook]:
        """Yield the webhooks of one's own team; for an admin, all."""
        return self._all("/webhooks", {})

    def create_webhook(self, url: str, events: list[str]) -> Plan[Webhook]:
        """Have the registry tell `url` of these events; the answer alone holds the `secret` that signs them."""
        return self._exchanges.answer("POST", "/webhooks", json={"url": url, "events": events})

    def deliveries(self, webhook_id: int) -> Items[Delivery]:
        """Yield the webhook's messages, the newest first."""
        return self._all(f"/webhooks/{webhook_id}/deliveries", {})

    def delete_webhook(self, webhook_id: int) -> Plan[None]:
        """Tell it nothing more."""
        return self._delete(f"/webhooks/{webhook_id}")
