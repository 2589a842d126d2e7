"""`sat models`, `model`, `card`, `download`, `edit`, `retry`, `rm`, `restore`."""

import sys
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from client.commands.downloading import write_file
from client.completion import complete_model
from client.errors import InputError
from client.output import AsJson, ImageSetName, ProtocolName, Url, connect, console, print_json, say
from client.shapes import ModelDetail
from client.text_files import read_text

ModelName = Annotated[
    str,
    typer.Argument(
        metavar="MODEL", help="A name, an alias, or @ and a network's digest.", autocompletion=complete_model
    ),
]


def models(
    *,
    state: Annotated[str | None, typer.Option("--state", help="received, ready, suspect, archived or failed.")] = None,
    tag: Annotated[str | None, typer.Option("--tag")] = None,
    family: Annotated[str | None, typer.Option("--family", help="Such as resnet or swin.")] = None,
    base: Annotated[str | None, typer.Option("--base", help="CNN, Transformer, MLP-Mixer, hybrid, NAS.")] = None,
    architecture: Annotated[str | None, typer.Option("--architecture")] = None,
    owner: Annotated[str | None, typer.Option("--owner", help="The team that registered it.")] = None,
    min_accuracy: Annotated[float | None, typer.Option("--min-accuracy", min=0, max=1)] = None,
    max_accuracy: Annotated[float | None, typer.Option("--max-accuracy", min=0, max=1)] = None,
    search: Annotated[
        str | None, typer.Option("--search", "-q", help="Words: parts of names and tags, or of descriptions and cards.")
    ] = None,
    sort: Annotated[
        str | None,
        typer.Option(
            "--sort", help="name, accuracy, created_at, parameters, gmacs; -accuracy: best first; relevance (with -q)."
        ),
    ] = None,
    deleted: Annotated[bool, typer.Option("--deleted", help="Those that `sat restore` brings back.")] = False,
    image_set: ImageSetName = None,
    protocol: ProtocolName = None,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """List the models."""
    from client.tables.models import models_table

    filters: dict[str, Any] = {
        "state": state,
        "tag": tag,
        "family": family,
        "base": base,
        "architecture": architecture,
        "owner": owner,
        "min_accuracy": min_accuracy,
        "max_accuracy": max_accuracy,
        "q": search,
        "sort": sort,
        "deleted": deleted or None,
        "image_set": image_set,
        "protocol": protocol,
    }
    with connect(url) as registry:
        found = list(registry.models(**filters))
    if as_json:
        print_json({"items": found, "next": None, "total": len(found)})
    elif found:
        console.print(models_table(found))
    elif deleted:
        say("No deleted model is there, or none passes the filters.")
    else:
        say("No model is there, or none passes the filters: `sat register --help`.")


def model(
    name: ModelName,
    *,
    image_set: ImageSetName = None,
    protocol: ProtocolName = None,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Show one model: state, accuracy, self-fooling, its 13 components."""
    from client.tables.models import model_table

    with connect(url) as registry:
        found = registry.model(name, image_set=image_set, protocol=protocol)
    if as_json:
        print_json(found)
    else:
        console.print(model_table(found))


def card(
    name: ModelName,
    *,
    html: Annotated[bool, typer.Option("--html", help="As HTML, cleaned.")] = False,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Print a model's card (Markdown); `sat edit --card FILE` writes it."""
    with connect(url) as registry:
        text = registry.card(name, html=html)
    if as_json:
        print_json({"model": name, "card": text})
    else:
        sys.stdout.write(text if text.endswith("\n") or not text else text + "\n")


def download(
    name: ModelName,
    *,
    to: Annotated[Path | None, typer.Option("--to", help="The file to write; else <model>.safetensors here.")] = None,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Write a model's weights to a file (safetensors), whole or not at all."""
    path = to if to is not None else Path(f"{name.removeprefix('@')}.safetensors")
    with connect(url) as registry:
        write_file(partial(registry.checkpoint, name), path, {"model": name}, as_json=as_json)


def edit(
    name: ModelName,
    *,
    description: Annotated[str | None, typer.Option("--description")] = None,
    tags: Annotated[list[str] | None, typer.Option("--tag", help="All its tags from now on; may be repeated.")] = None,
    no_tags: Annotated[bool, typer.Option("--no-tags", help="Take all tags away.")] = False,
    license_: Annotated[str | None, typer.Option("--license", help="'' takes it away.")] = None,
    expected_accuracy: Annotated[float | None, typer.Option("--expected-accuracy", min=0, max=1)] = None,
    card_file: Annotated[Path | None, typer.Option("--card", help="A Markdown file.")] = None,
    state: Annotated[str | None, typer.Option("--state", help="archived, or ready again.")] = None,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Change what describes a model, or archive it: it is measured no more, its scores stay."""
    change: dict[str, Any] = {
        "description": description,
        "tags": [] if no_tags else tags,
        "license": license_,
        "expected_accuracy": expected_accuracy,
        "card": None if card_file is None else read_text(card_file),
        "state": state,
    }
    change = {field: value for field, value in change.items() if value is not None}
    if not change:
        raise InputError("Say what shall change: --description, --tag, --license, --card, --state … (--help).")
    if not change.get("license", "-"):
        change["license"] = None
    with connect(url) as registry:
        found = registry.change_model(name, change)
    _show_state(found, as_json=as_json)


def retry(name: ModelName, *, url: Url = None, as_json: AsJson = False) -> None:
    """Try a failed model's work again."""
    with connect(url) as registry:
        found = registry.retry(name)
    _show_state(found, as_json=as_json)


def remove(
    names: Annotated[
        list[str], typer.Argument(help="Models to delete.", metavar="MODEL...", autocompletion=complete_model)
    ],
    *,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Delete models: each name is free at once, and no answer holds the model any more."""
    with connect(url) as registry:
        for name in names:
            registry.delete_model(name)
            if not as_json:
                say(f"{name} is deleted; `sat restore {name}` brings it back.")
    if as_json:
        print_json({"deleted": names})


def restore(
    name: Annotated[str, typer.Argument(metavar="MODEL", help="The name it had, or ~ and its number.")],
    *,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Bring a deleted model back with its results; `sat models --deleted` lists them."""
    with connect(url) as registry:
        found = registry.restore_model(name)
    _show_state(found, as_json=as_json)


def _show_state(model: ModelDetail, *, as_json: bool) -> None:
    if as_json:
        print_json(model)
    else:
        say(f"{model['name']} is {model['state']}: {model['progress']['stage']}.")
