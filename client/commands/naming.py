"""`sat aliases`, `webhooks`, `audit`: who is called what, who is told, who changed it."""

from itertools import islice
from typing import Annotated

import typer

from client.commands.models import ModelName
from client.output import AsJson, Url, connect, console, print_json, say, shown_of

aliases = typer.Typer(no_args_is_help=True, help="Aliases: further names of models, which can be moved.")
webhooks = typer.Typer(no_args_is_help=True, help="Webhooks: who is told when a model is measured or has failed.")


@aliases.command("list")
def list_aliases(*, url: Url = None, as_json: AsJson = False) -> None:
    """Show all aliases, with their models."""
    from client.tables.naming import aliases_table

    with connect(url) as registry:
        found = list(registry.aliases())
    if as_json:
        print_json({"items": found, "next": None, "total": len(found)})
    elif found:
        console.print(aliases_table(found))
    else:
        say("There is no alias yet: `sat aliases set <alias> <model>`.")


@aliases.command("set")
def set_alias(
    alias: Annotated[str, typer.Argument(help="The alias.")],
    name: ModelName,
    *,
    protected: Annotated[
        bool | None,
        typer.Option("--protected/--unprotected", help="Only an administrator moves it; left out: as it is."),
    ] = None,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Let an alias name a model: it is made, or moved."""
    with connect(url) as registry:
        found = registry.set_alias(alias, name, protected=protected)
    if as_json:
        print_json(found)
    else:
        say(f"{found['alias']} is {found['model']}{', protected' if found['protected'] else ''}.")


@aliases.command("rm")
def remove_alias(
    alias: Annotated[str, typer.Argument(help="The alias.")], *, url: Url = None, as_json: AsJson = False
) -> None:
    """Free an alias; its model stays."""
    with connect(url) as registry:
        registry.delete_alias(alias)
    if as_json:
        print_json({"deleted": [alias]})
    else:
        say(f"{alias} names nothing any more.")


@webhooks.command("list")
def list_webhooks(*, url: Url = None, as_json: AsJson = False) -> None:
    """Show your team's webhooks, and how their messages fare."""
    from client.tables.naming import webhooks_table

    with connect(url) as registry:
        found = list(registry.webhooks())
    if as_json:
        print_json({"items": found, "next": None, "total": len(found)})
    elif found:
        console.print(webhooks_table(found))
    else:
        say("There is no webhook yet: `sat webhooks add https://…`.")


@webhooks.command("add")
def add_webhook(
    address: Annotated[str, typer.Argument(metavar="URL", help="Where messages are sent, on a host that is allowed.")],
    *,
    events: Annotated[
        list[str] | None, typer.Option("--event", help="model.measured or model.failed; left out: both.")
    ] = None,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Have a URL told of events; the secret that signs the messages is shown once."""
    with connect(url) as registry:
        made = registry.create_webhook(address, events or ["model.measured", "model.failed"])
    if as_json:
        print_json(made)
        return
    say(f"Webhook {made['id']} is told of {', '.join(made['events'])}. Its secret, shown only now:")
    say(str(made["secret"]))


@webhooks.command("deliveries")
def list_deliveries(
    webhook: Annotated[int, typer.Argument(help="Its number.")],
    *,
    limit: Annotated[
        int | None, typer.Option("--limit", min=1, help="Show so many; left out: 50, or with --json all.")
    ] = None,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Show a webhook's messages, the newest first, and why one did not arrive."""
    from client.tables.naming import deliveries_table

    with connect(url) as registry:
        found = list(islice(registry.deliveries(webhook), shown_of(limit, as_json=as_json)))
    if as_json:
        print_json({"items": found, "next": None})
    elif found:
        console.print(deliveries_table(found))
    else:
        say(f"Webhook {webhook} was told nothing yet.")


@webhooks.command("rm")
def remove_webhook(
    webhook: Annotated[int, typer.Argument(help="Its number.")], *, url: Url = None, as_json: AsJson = False
) -> None:
    """Tell a webhook nothing more."""
    with connect(url) as registry:
        registry.delete_webhook(webhook)
    if as_json:
        print_json({"deleted": [webhook]})
    else:
        say(f"Webhook {webhook} is told nothing more.")


def audit(
    *,
    action: Annotated[str | None, typer.Option("--action", help="Such as model.delete or alias.move.")] = None,
    subject: Annotated[str | None, typer.Option("--subject", help="What was changed.")] = None,
    actor: Annotated[str | None, typer.Option("--actor", help="The name of a key.")] = None,
    most: Annotated[
        int | None, typer.Option("--limit", min=1, help="Show so many; left out: 50, or with --json all.")
    ] = None,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Show who changed what, the newest first."""
    from client.tables.naming import audit_table

    with connect(url) as registry:
        every = registry.audit(action=action, subject=subject, actor=actor)
        found = list(islice(every, shown_of(most, as_json=as_json)))
    if as_json:
        print_json({"items": found, "next": None})
    elif found:
        console.print(audit_table(found))
    else:
        say("Nothing was changed yet, or nothing passes the filters.")
