"""`sat similar`, `pairs`, `pair`, `matrix`, `clusters`."""

from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import typer

from client.commands.models import ModelName
from client.completion import complete_model
from client.errors import InputError
from client.output import AsJson, ImageSetName, ProtocolName, Url, bar, connect, console, print_json, say, shown_of

FILE_FORMATS = ("csv", "npz", "parquet")


def similar(
    name: ModelName,
    *,
    k: Annotated[int, typer.Option("-k", min=1, help="How many.")] = 10,
    farthest: Annotated[bool, typer.Option("--farthest", help="Those least alike.")] = False,
    image_set: ImageSetName = None,
    protocol: ProtocolName = None,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Show the models most like this one (or --farthest: least)."""
    from client.tables.similarity import neighbours_table

    order = "farthest" if farthest else "nearest"
    with connect(url) as registry:
        found = registry.similar(name, k=k, order=order, image_set=image_set, protocol=protocol)
    if as_json:
        print_json(found)
        return
    if found["items"]:
        console.print(neighbours_table(found))
    else:
        say(f"No pair of {found['model']} is measured yet: `sat watch`.")
    if found["missing"]:
        say(f"{found['missing']} pairs are still to be measured.")


def pairs(
    *,
    name: Annotated[
        str | None, typer.Option("--model", help="Only this model's.", autocompletion=complete_model)
    ] = None,
    obtained: Annotated[str | None, typer.Option("--obtained", help="measured or one-sided.")] = None,
    flag: Annotated[str | None, typer.Option("--flag", help="'at floor', 'no transfer beyond noise' …")] = None,
    min_sat: Annotated[float | None, typer.Option("--min-sat")] = None,
    max_sat: Annotated[float | None, typer.Option("--max-sat")] = None,
    limit: Annotated[
        int | None, typer.Option("--limit", min=1, help="Show so many; left out: 50, or with --json all.")
    ] = None,
    image_set: ImageSetName = None,
    protocol: ProtocolName = None,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """List the recorded pairs, by name."""
    from client.tables.similarity import pairs_table

    filters: dict[str, Any] = {
        "model": name,
        "obtained": obtained,
        "flag": flag,
        "min_sat": min_sat,
        "max_sat": max_sat,
        "image_set": image_set,
        "protocol": protocol,
    }
    with connect(url) as registry:
        found = list(islice(registry.pairs(**filters), shown_of(limit, as_json=as_json)))
    if as_json:
        print_json({"items": found, "next": None})
    elif found:
        console.print(pairs_table(found))
    else:
        say("No pair is measured yet, or none passes the filters.")


def pair(
    a: ModelName,
    b: ModelName,
    *,
    image_set: ImageSetName = None,
    protocol: ProtocolName = None,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Show one pair in full: both directions, the controls, who measured it."""
    from client.tables.similarity import pair_table

    with connect(url) as registry:
        found = registry.pair(a, b, image_set=image_set, protocol=protocol)
    if as_json:
        print_json(found)
    else:
        say(f"{found['a']} and {found['b']}")
        console.print(pair_table(found))


def matrix(
    *,
    csv: Annotated[Path | None, typer.Option("--csv", help="As --format csv --to FILE.")] = None,
    file_format: Annotated[
        str | None, typer.Option("--format", help="csv, npz or parquet: write it to the file --to instead.")
    ] = None,
    to: Annotated[Path | None, typer.Option("--to", help="The file to write; left out: matrix.<format> here.")] = None,
    image_set: ImageSetName = None,
    protocol: ProtocolName = None,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Show the SAT of every pair; the diagonal is self-fooling."""
    from client.tables.similarity import matrix_tables

    if csv is not None:
        file_format, to = "csv", csv
    elif file_format is None and to is not None:
        file_format = to.suffix.removeprefix(".")
    if file_format is not None and file_format not in FILE_FORMATS:
        raise InputError(f"A matrix is written as {', '.join(FILE_FORMATS)}, not as {file_format!r}: give --format.")
    with connect(url) as registry:
        if file_format is not None:
            path = to or Path(f"matrix.{file_format}")
            with bar(path.name, None, "bytes") as came:
                _write(
                    path,
                    lambda: registry.matrix_file(
                        path, came, file_format=file_format, image_set=image_set, protocol=protocol
                    ),
                )
            _tell_written(path, file_format, as_json=as_json)
            return
        found = registry.matrix(image_set=image_set, protocol=protocol)
    if as_json:
        print_json(found)
        return
    if not found["models"]:
        say("No model is measured yet: `sat register --help`.")
    else:
        say(f"SAT on {found['comparison']}; * one-sided, the diagonal is self-fooling")
    for table in matrix_tables(found, console.width):
        console.print(table)
    if found["missing"]:
        say(f"{found['missing']} pairs are still to be measured (·).")


def clusters(
    *,
    k: Annotated[int | None, typer.Option("-k", min=1, help="How many; else as the registry suggests.")] = None,
    image_set: ImageSetName = None,
    protocol: ProtocolName = None,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Show clusters of models that are alike, and the components that set each apart."""
    from client.tables.similarity import clusters_table

    with connect(url) as registry:
        found = registry.clusters(k=k, image_set=image_set, protocol=protocol)
    if as_json:
        print_json(found)
        return
    console.print(clusters_table(found))
    fits = (("stability", found["stability"]), ("silhouette", found["silhouette"]))
    shown = ", ".join(f"{name} {value:.2f}" for name, value in fits if value is not None)
    chosen = " (the registry's choice)" if k is None else ""
    say(f"{found['k']} clusters{chosen}; {shown}")
    if found["stale"]:
        say("Computed before the newest pairs; ask again for newer ones.")
    if found["left_out"]:
        say(f"Left out: {', '.join(found['left_out'])}.")


def _write(path: Path, write: Callable[[], object]) -> None:
    try:
        write()
    except OSError as error:
        raise InputError(f"{path} cannot be written ({error.strerror}).") from error


def _tell_written(path: Path, file_format: str, *, as_json: bool) -> None:
    if as_json:
        print_json({"file": str(path), "format": file_format, "bytes": path.stat().st_size})
    else:
        say(f"Written to {path}.")
