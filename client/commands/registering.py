"""`sat register`."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from client.errors import ClientError, InputError
from client.output import AsJson, Url, bar, complaints, connect, console, print_json, say
from client.text_files import read_text


def register(
    checkpoint: Annotated[
        Path | None,
        typer.Argument(
            help="The weights: .safetensors, or a .pth that the registry converts.", exists=True, dir_okay=False
        ),
    ] = None,
    *,
    name: Annotated[str | None, typer.Option("--name", help="The model's name.")] = None,
    architecture: Annotated[str | None, typer.Option("--architecture", help="A catalogue name.")] = None,
    pretrained: Annotated[
        str | None, typer.Option("--pretrained", help="The tag of published weights, instead of a file.")
    ] = None,
    source: Annotated[
        str | None, typer.Option("--source", help="A file in a folder of the server's operator: <root>/<path>.")
    ] = None,
    classes: Annotated[
        Path | None, typer.Option("--classes", help="A file with a class name a line, in the outputs' order.")
    ] = None,
    task: Annotated[str | None, typer.Option("--task", help="The task whose classes are the outputs.")] = None,
    arguments: Annotated[
        list[str] | None, typer.Option("--arg", help="A build argument, img_size=32; may be repeated.")
    ] = None,
    size: Annotated[int | None, typer.Option("--size", help="Pixels a side of the input.")] = None,
    mean: Annotated[str | None, typer.Option("--mean", help="A number a channel: 0.485,0.456,0.406.")] = None,
    std: Annotated[str | None, typer.Option("--std", help="A number a channel.")] = None,
    tags: Annotated[list[str] | None, typer.Option("--tag", help="A tag; may be repeated.")] = None,
    metadata: Annotated[
        Path | None, typer.Option("--metadata", help="JSON with any of these and more; options win.")
    ] = None,
    manifest: Annotated[
        Path | None, typer.Option("--manifest", help="A CSV file with a model a line (docs/cli.md), instead.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="With --manifest: only say what it would cost.")] = False,
    rung: Annotated[
        int | None, typer.Option("--rung", min=0, max=1, help="0: measure on the first images only (`sat measure`).")
    ] = None,
    weights: Annotated[str | None, typer.Option("--weights", help="Of the file: raw, or ema.")] = None,
    supersedes: Annotated[
        str | None, typer.Option("--supersedes", help="The model that this is a later version of.")
    ] = None,
    description: Annotated[str | None, typer.Option("--description")] = None,
    license_: Annotated[str | None, typer.Option("--license", help="Such as Apache-2.0.")] = None,
    expected_accuracy: Annotated[
        float | None, typer.Option("--expected-accuracy", min=0, max=1, help="Another one makes the model suspect.")
    ] = None,
    card: Annotated[Path | None, typer.Option("--card", help="A Markdown file: the model's card.")] = None,
    watch: Annotated[bool, typer.Option("--watch", help="Show progress until it is measured.")] = False,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Register a model: a checkpoint of yours, --pretrained weights, or a --source. Again with the same is harmless."""
    if manifest is not None or dry_run:
        from client.commands.plan import register_manifest

        alone = not any((checkpoint, name, metadata, watch))
        register_manifest(manifest, alone=alone, url=url, rung=rung, dry_run=dry_run, as_json=as_json)
        return
    from client.following import follow

    described = {} if metadata is None else _json_object(metadata)
    given = {
        "name": name,
        "architecture": architecture,
        "pretrained": pretrained,
        "classes": None if classes is None else _lines(classes),
        "task": task,
        "model_args": dict(_argument(one) for one in arguments or ()) or None,
        "input": _input(described.get("input"), size, mean, std),
        "tags": tags or None,
        "source": source,
        "weights": weights,
        "supersedes": supersedes,
        "description": description,
        "license": license_,
        "expected_accuracy": expected_accuracy,
        "card": None if card is None else read_text(card),
        "last_rung": rung,
    }
    described |= {field: value for field, value in given.items() if value is not None}
    for field in ("name", "architecture"):
        if field not in described:
            raise InputError(f"--{field} is missing (or `{field}` in the --metadata file).")
    if [checkpoint is not None, "pretrained" in described, "source" in described].count(True) != 1:
        raise InputError("Give either a checkpoint file, or --pretrained <tag>, or --source <root>/<path>.")
    with connect(url) as registry:
        if checkpoint is None:
            model = registry.register(described)
        else:
            with bar(described["name"], checkpoint.stat().st_size, "bytes") as sent:
                model = registry.register(described, checkpoint, sent)
        if watch:
            follow(registry, model["name"], console if not as_json else complaints)
            model = registry.model(model["name"])
    if as_json:
        print_json(model)
    else:
        say(f"{model['name']} is {model['state']}: {model['progress']['stage']}.")
        if not watch:
            say(f"`sat watch {model['name']}` shows its progress, `sat watch` that of everything.")
    if model["state"] == "failed":
        raise ClientError(f"{model['name']}: {model['failure']}")


def _json_object(path: Path) -> dict[str, Any]:
    try:
        described = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read as JSON ({error}).") from error
    if not isinstance(described, dict):
        raise InputError(f'{path} must hold a JSON object, such as {{"name": "resnet-a"}}.')
    return described


def _lines(path: Path) -> list[str]:
    try:
        names = [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read ({error}).") from error
    if not names:
        raise InputError(f"{path} is empty: it needs a class name a line.")
    return names


def _argument(text: str) -> tuple[str, Any]:
    """Return the name and the value of `name=value`; the value is JSON where it can be, else text."""
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise InputError(f"--arg {text!r} must be name=value, such as img_size=32.")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


def _input(described: Any, size: int | None, mean: str | None, std: str | None) -> dict[str, Any] | None:
    """Return `input` with the options laid over what the metadata file says; None when nothing says anything."""
    taken = dict(described) if isinstance(described, dict) else {}
    if size is not None:
        taken["size"] = size
    for field, text in (("mean", mean), ("std", std)):
        if text is not None:
            taken[field] = _numbers(field, text)
            taken["channels"] = len(taken[field])
    if taken and not {"size", "channels", "mean", "std"} <= taken.keys():
        raise InputError("The input needs --size, --mean and --std together (or none: the catalogue's are taken).")
    return taken or None


def _numbers(field: str, text: str) -> list[float]:
    try:
        return [float(number) for number in text.split(",")]
    except ValueError:
        raise InputError(f"--{field} {text!r} must be a number a channel, such as 0.485,0.456,0.406.") from None
