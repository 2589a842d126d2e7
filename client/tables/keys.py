"""Keys as a table."""

from collections.abc import Iterable

from rich.table import Table

from client.shapes import Key
from client.tables.figures import NOTHING


def keys_table(keys: Iterable[Key]) -> Table:
    """Return a row a key."""
    table = Table(box=None, header_style="bold")
    for title in ("key", "team", "scope", "made", "last used", "until"):
        table.add_column(title, overflow="fold")
    for key in keys:
        until = f"revoked {_minute(key['revoked_at'])}" if key["revoked_at"] else _minute(key["expires_at"])
        table.add_row(
            key["name"],
            key["team"],
            key["scope"],
            _minute(key["created_at"]),
            _minute(key["last_used_at"]),
            until,
        )
    return table


def _minute(time: str | None) -> str:
    return time[:16].replace("T", " ") if time else NOTHING
