"""Commands of other packages that join `sat` through the entry-point group `sat.commands`.

Their code (torch, SQLAlchemy) is imported only when they run; for `sat --help` the first line of the function's
docstring is read from its source file.
"""

import ast
from collections.abc import Callable, Iterator
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec
from pathlib import Path

import typer

from client.errors import ClientError

GROUP = "sat.commands"
AS_GIVEN = {"ignore_unknown_options": True, "allow_extra_args": True, "help_option_names": []}


def join_commands(app: typer.Typer) -> None:
    """Add to the app a command for every entry point of the group."""
    for entry in found_commands():
        app.command(entry.name, help=summary(entry), context_settings=AS_GIVEN, add_help_option=False)(
            _forwarding(entry)
        )


def found_commands() -> Iterator[EntryPoint]:
    """Yield the entry points of the group, by name."""
    yield from sorted(entry_points(group=GROUP), key=lambda entry: entry.name)


def summary(entry: EntryPoint) -> str:
    """Return the first line of the docstring of the entry point's function, without importing it; "" if unknown."""
    try:
        spec = find_spec(entry.module)
        tree = ast.parse(Path(spec.origin).read_text(encoding="utf-8")) if spec and spec.origin else ast.Module([], [])
    except (ImportError, OSError, SyntaxError):
        return ""
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and node.name == entry.attr:
            return (ast.get_docstring(node) or "").partition("\n")[0]
    return ""


def _forwarding(entry: EntryPoint) -> Callable[[typer.Context], None]:
    def run(context: typer.Context) -> None:
        joined = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
        try:
            joined.command(entry.name)(entry.load())
            command = typer.main.get_command(joined)
            status = command.main(args=context.args, prog_name=f"sat {entry.name}", standalone_mode=False)
        except ModuleNotFoundError as error:
            raise ClientError(
                f"`sat {entry.name}` needs the package {error.name}: "
                f'pip install "{_distribution(entry)}[embedded]" brings it.'
            ) from error
        raise typer.Exit(status if isinstance(status, int) else 0)

    return run


def _distribution(entry: EntryPoint) -> str:
    return entry.dist.name if entry.dist is not None else "sat-registry"
