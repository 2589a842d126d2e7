"""The `sat` command."""

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from client.commands import models, naming, overview, plan, recommend, registering, similarity, upkeep, work
from client.commands.images import images
from client.commands.keys import keys
from client.commands.protocols import agreement, comparisons, protocols
from client.credentials import KEY, KEY_FILE
from client.errors import ClientError
from client.joined import join_commands
from client.output import complaints

app = typer.Typer(
    name="sat",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="A registry of image classifiers that knows which of them behave alike.",
)


@app.callback()
def with_key(
    *,
    key: Annotated[
        str | None,
        typer.Option("--key", help=f"The API key; others may see it in the list of processes: rather set {KEY}."),
    ] = None,
    key_file: Annotated[
        Path | None, typer.Option("--key-file", help=f"A file with the API key, mode 0600. [{KEY_FILE}]")
    ] = None,
) -> None:
    """A registry of image classifiers that knows which of them behave alike."""
    # by way of the environment, so that commands of other packages (client/joined.py) find it as well
    if key_file is not None:
        os.environ[KEY_FILE] = str(key_file)
        os.environ.pop(KEY, None)
    if key is not None:
        os.environ[KEY] = key


app.add_typer(images, name="images")
app.add_typer(protocols, name="protocols")
app.add_typer(keys, name="keys")
app.add_typer(naming.aliases, name="aliases")
app.add_typer(naming.webhooks, name="webhooks")
app.command()(registering.register)
app.command()(models.models)
app.command()(models.model)
app.command()(models.card)
app.command()(models.download)
app.command()(models.edit)
app.command()(models.retry)
app.command("rm")(models.remove)
app.command()(models.restore)
app.command()(similarity.similar)
app.command()(similarity.pairs)
app.command()(similarity.pair)
app.command()(similarity.matrix)
app.command()(similarity.clusters)
app.command("map")(overview.map_models)
app.command()(overview.importance)
app.command()(comparisons)
app.command()(agreement)
app.add_typer(recommend.recommend, name="recommend")
app.command()(work.jobs)
app.command()(work.workers)
app.command()(work.watch)
app.command()(work.pause)
app.command()(work.resume)
app.command()(work.drain)
app.command()(plan.measure)
app.command()(naming.audit)
app.command()(upkeep.gc)
app.command()(upkeep.doctor)
join_commands(app)


def main(arguments: list[str] | None = None) -> None:
    """Run `sat` with the arguments (those of the process by default) and exit with a code of client/errors.py."""
    try:
        app(arguments)
    except ClientError as error:
        complaints.print(f"sat: {error}")
        sys.exit(error.exit_code)
