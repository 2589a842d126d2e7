"""`sat keys`: who may ask."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer

from client.credentials import write_key
from client.errors import InputError, RegistryError
from client.output import AsJson, Url, connect, console, print_json, say

keys = typer.Typer(no_args_is_help=True, help="API keys: who may ask, and for what. For administrators.")


@keys.command("create")
def create_key(
    name: Annotated[str, typer.Argument(help="What the audit log calls it.")],
    *,
    scope: Annotated[
        str, typer.Option("--scope", help="read, write or admin; each includes the ones before.")
    ] = "read",
    team: Annotated[
        str | None, typer.Option("--team", help="Owns what is registered with it; left out: your own.")
    ] = None,
    days: Annotated[
        int | None, typer.Option("--days", min=1, max=36500, help="It expires after so many; left out: never.")
    ] = None,
    to: Annotated[
        Path | None, typer.Option("--to", help="Write it into this new file (mode 0600), and do not show it.")
    ] = None,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Make a key. It is shown once: the registry keeps only a hash of it."""
    if to is not None and to.exists():
        raise InputError(f"{to} is there already: name a new file.")
    expires_at = None if days is None else (datetime.now(UTC) + timedelta(days=days)).isoformat()
    with connect(url) as registry:
        made = registry.create_key(name, scope=scope, team=team, expires_at=expires_at)
    if made["key"] is None:
        raise RegistryError(
            409, {"detail": f"The key {name!r} was made, but its answer was lost: revoke it, and make another."}
        )
    if to is not None:
        write_key(made["key"], to)
        made["key"] = None
    if as_json:
        print_json(made)
        return
    until = f" until {made['expires_at'][:16].replace('T', ' ')} UTC" if made["expires_at"] else ""
    say(f"Key {made['name']} of the team {made['team']}, scope {made['scope']}{until}.")
    say(f"It is in {to}: set SAT_KEY_FILE={to}." if to is not None else "It is shown this once:")
    if made["key"] is not None:
        say(made["key"])


@keys.command("list")
def list_keys(*, url: Url = None, as_json: AsJson = False) -> None:
    """Show all keys: whom they stand for, until when, and when they were last used."""
    from client.tables.keys import keys_table

    with connect(url) as registry:
        found = list(registry.keys())
    if as_json:
        print_json({"items": found, "next": None, "total": len(found)})
        return
    console.print(keys_table(found))


@keys.command("revoke")
def revoke_key(
    name: Annotated[str, typer.Argument(help="The key's name.")], *, url: Url = None, as_json: AsJson = False
) -> None:
    """End a key for good, within two seconds. What was registered with it stays."""
    with connect(url) as registry:
        registry.revoke_key(name)
    if as_json:
        print_json({"revoked": [name]})
        return
    say(f"The key {name} opens nothing any more.")
