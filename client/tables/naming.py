"""Aliases, webhooks and the audit log as tables."""

from collections.abc import Iterable

from rich.table import Table

from client.shapes import Alias, AuditEntry, Delivery, Webhook
from client.tables.figures import NOTHING


def aliases_table(aliases: Iterable[Alias]) -> Table:
    """Return a row an alias."""
    table = Table("alias", "model", "digest", "protected", box=None, header_style="bold")
    for each in aliases:
        digest = (each["digest"] or NOTHING)[:12]
        table.add_row(each["alias"], each["model"], digest, "yes" if each["protected"] else NOTHING)
    return table


def webhooks_table(webhooks: Iterable[Webhook]) -> Table:
    """Return a row a webhook."""
    table = Table(box=None, header_style="bold")
    for title in ("id", "url", "events", "waiting", "delivered", "failed", "last failure"):
        table.add_column(title, overflow="fold")
    for each in webhooks:
        counts = (str(each["waiting"]), str(each["delivered"]), str(each["failed"]))
        events = ", ".join(each["events"])
        table.add_row(str(each["id"]), each["url"], events, *counts, each["last_failure"] or NOTHING)
    return table


def deliveries_table(deliveries: Iterable[Delivery]) -> Table:
    """Return a row a message."""
    table = Table(box=None, header_style="bold")
    for title in ("id", "at", "event", "model", "state", "attempts", "failure"):
        table.add_column(title, overflow="fold")
    for each in deliveries:
        model = str(each["payload"].get("model") or NOTHING)
        attempts, failure = str(each["attempt"]), each["failure"] or NOTHING
        table.add_row(str(each["id"]), each["created_at"][:19], each["event"], model, each["state"], attempts, failure)
    return table


def audit_table(entries: Iterable[AuditEntry]) -> Table:
    """Return a row an entry."""
    table = Table(box=None, header_style="bold")
    for title in ("at", "actor", "action", "subject", "detail"):
        table.add_column(title, overflow="fold")
    for each in entries:
        detail = ", ".join(f"{name} {value}" for name, value in each["detail"].items() if value is not None)
        table.add_row(each["at"][:19], each["actor"], each["action"], each["subject"], detail)
    return table
