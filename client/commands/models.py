"""`sat register`, `models`, `model`, `retry`, `rm`."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from client.errors import InputError
from client.output import AsJson, ImageSetName, ProtocolName, Url, bar, connect, console, print_json, say

ModelName = Annotated[str, typer.Argument(metavar="MODEL", help="A name, an alias, or @ and a network's digest.")]


def register(
    checkpoint: Annotated[
        Path | None, typer.Argument(help="The weights, .safetensors.", exists=True, dir_okay=False)
    ] = None,
    *,
    name: Annotated[str | None, typer.Option("--name", help="The model's name.")] = None,
    architecture: Annotated[str | None, typer.Option("--architecture", help="A catalogue name.")] = None,
    pretrained: Annotated[
        str | None, typer.Option("--pretrained", help="The tag of published weights, instead of a file.")
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
    watch: Annotated[bool, typer.Option("--watch", help="Show progress until it is measured.")] = False,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Register a model: a checkpoint of yours, or --pretrained weights. Again with the same is harmless."""
    if manifest is not None or dry_run:
        from client.commands.plan import register_manifest

        alone = not any((checkpoint, name, metadata, watch))
        register_manifest(manifest, alone=alone, url=url, rung=rung, dry_run=dry_run, as_json=as_json)
        return
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
        "last_rung": rung,
    }
    described |= {field: value for field, value in given.items() if value is not None}
    for field in ("name", "architecture"):
        if field not in described:
            raise InputError(f"--{field} is missing (or `{field}` in the --metadata file).")
    if (checkpoint is None) == ("pretrained" not in described):
        raise InputError("Give either a checkpoint file or --pretrained <tag>.")
    with connect(url) as registry:
        if checkpoint is None:
            model = registry.register(described)
        else:
            with bar(described["name"], checkpoint.stat().st_size, "bytes") as sent:
                model = registry.register(described, checkpoint, sent)
        if watch:
            model = _watched(registry, model["name"])
    if as_json:
        print_json(model)
        return
    say(f"{model['name']} is {model['state']}: {model['progress']['stage']}.")
    if not watch:
        say("`sat watch` shows the progress of everything.")
    _raise_failure(model)


def models(
    *,
    state: Annotated[str | None, typer.Option("--state", help="received, ready, suspect or failed.")] = None,
    tag: Annotated[str | None, typer.Option("--tag")] = None,
    family: Annotated[str | None, typer.Option("--family", help="Such as resnet or swin.")] = None,
    base: Annotated[str | None, typer.Option("--base", help="CNN, Transformer, MLP-Mixer, hybrid, NAS.")] = None,
    architecture: Annotated[str | None, typer.Option("--architecture")] = None,
    search: Annotated[str | None, typer.Option("--search", "-q", help="Part of a name.")] = None,
    sort: Annotated[str | None, typer.Option("--sort", help="Such as name or accuracy.")] = None,
    image_set: ImageSetName = None,
    protocol: ProtocolName = None,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """List the models."""
    from client.tables.models import models_table

    with connect(url) as registry:
        found = list(
            registry.models(
                state=state,
                tag=tag,
                family=family,
                base=base,
                architecture=architecture,
                q=search,
                sort=sort,
                image_set=image_set,
                protocol=protocol,
            )
        )
    if as_json:
        print_json({"items": found, "next": None, "total": len(found)})
    elif found:
        console.print(models_table(found))
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


def retry(name: ModelName, url: Url = None) -> None:
    """Try a failed model's work again."""
    with connect(url) as registry:
        found = registry.retry(name)
    say(f"{found['name']} is {found['state']}: {found['progress']['stage']}.")


def remove(
    names: Annotated[list[str], typer.Argument(help="Models to delete.", metavar="MODEL...")], url: Url = None
) -> None:
    """Delete models: each name is free at once, and no answer holds the model any more."""
    with connect(url) as registry:
        for name in names:
            registry.delete_model(name)
            say(f"{name} is deleted.")


def _watched(registry: Any, name: str) -> Any:
    from client.watching import watch

    watch(registry, console)
    return registry.model(name)


def _raise_failure(model: Any) -> None:
    if model["state"] == "failed":
        say(f"{model['name']}: {model['failure']}")
        raise typer.Exit(1)


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
