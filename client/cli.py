"""The `sat` command."""

import sys

import typer

from client.commands import models, overview, plan, recommend, similarity, upkeep, work
from client.commands.images import images
from client.commands.protocols import agreement, protocols
from client.errors import ClientError
from client.joined import join_commands
from client.output import complaints

app = typer.Typer(
    name="sat",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="A registry of image classifiers that knows which of them behave alike.",
)
app.add_typer(images, name="images")
app.add_typer(protocols, name="protocols")
app.command()(models.register)
app.command()(models.models)
app.command()(models.model)
app.command()(models.retry)
app.command("rm")(models.remove)
app.command()(similarity.similar)
app.command()(similarity.pair)
app.command()(similarity.matrix)
app.command()(similarity.clusters)
app.command("map")(overview.map_models)
app.command()(overview.importance)
app.command()(agreement)
app.add_typer(recommend.recommend, name="recommend")
app.command()(work.jobs)
app.command()(work.workers)
app.command()(work.watch)
app.command()(work.pause)
app.command()(work.resume)
app.command()(work.drain)
app.command()(plan.measure)
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
