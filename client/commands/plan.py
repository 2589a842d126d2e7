"""`sat register --manifest`: many models at once, planned and checked before the first is sent; `sat measure`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from client.errors import ConflictError, InputError, InvalidError, RegistryError
from client.manifest import Entry, read_manifest
from client.output import AsJson, Url, bar, connect, console, print_json, say

if TYPE_CHECKING:
    from client.registry import Registry
    from client.shapes import RegistrationPlan

MOST_PLANNED = 10_000


def register_manifest(
    manifest: Path | None, *, alone: bool, url: str | None, rung: int | None, dry_run: bool, as_json: bool
) -> None:
    """Register the models of a CSV file, or (dry_run) say what that would cost. Again with the same is harmless.

    alone: nothing that describes one model was given beside it.
    """
    if manifest is None:
        raise InputError("--dry-run needs a --manifest.")
    if not alone:
        raise InputError("--manifest says it all: besides it only --rung, --dry-run, --url and --json are taken.")
    entries = read_manifest(manifest, last_rung=rung)
    if len(entries) > MOST_PLANNED:
        raise InputError(f"{manifest} names {len(entries)} models: split it into files of at most {MOST_PLANNED}.")
    with connect(url) as registry:
        found = _checked_plan(registry, manifest, entries)
        there = {each["name"] for each in found["models"] if each["present"]}
        if not dry_run:
            _send(registry, manifest, [each for each in entries if each.name not in there])
    if as_json:
        print_json(found)
        return
    if dry_run:
        from client.tables.plan import print_plan

        print_plan(console, found)
        say("Nothing was started: the same without --dry-run registers them.")
        return
    known = f"; {len(there)} were there already" if there else ""
    say(f"{len(entries) - len(there)} models are registered{known}. `sat watch` shows the progress of everything.")


def measure(
    names: Annotated[list[str], typer.Argument(help="Models to measure.", metavar="MODEL...")],
    *,
    rung: Annotated[int, typer.Option("--rung", min=0, max=1, help="0: the first images only; 1: all of them.")] = 1,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Say how far models are measured: go on to all images after `sat register --rung 0`, or stop at the first."""
    with connect(url) as registry:
        found = [registry.change_model(name, {"last_rung": rung}) for name in names]
    if as_json:
        print_json({"items": found})
        return
    for model in found:
        say(f"{model['name']} is measured on {'all images' if rung else 'the first images only'}.")


def _checked_plan(registry: "Registry", manifest: Path, entries: list[Entry]) -> "RegistrationPlan":
    """Return the plan; a name that holds other content, or a row that would be refused, is an error with its line."""
    found = _plan(registry, manifest, entries, hashes={})
    taken = {each["name"] for each in found["models"] if each["present"]}
    if taken:
        # only these files are read twice: whether the same content is there already
        hashes = {each.name: each.sha256() for each in entries if each.name in taken}
        found = _plan(registry, manifest, entries, hashes)
    lines = {each.name: each.line for each in entries}
    for model in found["models"]:
        if model["present"] and not model["same"]:
            detail = (
                f"{manifest} line {lines[model['name']]}: the name {model['name']!r} already holds other content. "
                "Choose another name, or delete that model first; nothing was sent."
            )
            raise ConflictError(409, {"detail": detail})
    return found


def _plan(
    registry: "Registry", manifest: Path, entries: list[Entry], hashes: dict[str, str | None]
) -> "RegistrationPlan":
    models = [
        {
            **each.metadata,
            "checkpoint_bytes": each.file.stat().st_size if each.file else None,
            "checkpoint_sha256": hashes.get(each.name),
        }
        for each in entries
    ]
    try:
        return registry.plan(models)
    except InvalidError as error:
        raise _with_line(manifest, entries, error) from error


def _with_line(manifest: Path, entries: list[Entry], error: InvalidError) -> InputError | InvalidError:
    """Return the error with the line of the first entry that it is about, where it is about one."""
    errors: Any = error.problem.get("errors")
    where = str(errors[0].get("where", "")) if isinstance(errors, list) and errors else ""
    parts = where.split(".")
    if len(parts) < 2 or parts[0] != "models" or not parts[1].isdecimal():  # noqa: PLR2004  models.<index>
        return error
    line, field = entries[int(parts[1])].line, ".".join(parts[2:])
    more = f" ({len(errors) - 1} more would be refused)" if len(errors) > 1 else ""
    what = errors[0]["message"]
    return InputError(f"{manifest} line {line}{f', {field}' if field else ''}: {what}{more} Nothing was sent.")


def _send(registry: "Registry", manifest: Path, entries: list[Entry]) -> None:
    total = sum(each.file.stat().st_size for each in entries if each.file)
    with bar(f"{len(entries)} models", total, "bytes") as sent:
        for done, each in enumerate(entries):
            try:
                registry.register(each.metadata, each.file, sent if each.file else None)
            except RegistryError as error:
                more = f"{done} models before it are registered; the same command goes on."
                detail = f"{manifest} line {each.line}: {error.detail.rstrip('.')}. {more}"
                raise type(error)(error.status, {**error.problem, "detail": detail}) from error
