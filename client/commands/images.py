"""`sat images`: what models are compared on."""

import tempfile
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from client.commands.downloading import write_file
from client.errors import InputError
from client.output import AsJson, Url, bar, connect, console, print_json, say

images = typer.Typer(no_args_is_help=True, help="Image sets: what models are compared on.")

PART_NAMES = ("attack", "select", "report")
DEFAULT_SIDE = 256


@images.command("import")
def import_images(
    *,
    source: Annotated[Path, typer.Argument(help="A folder with a folder of images for each class, or an .npz.")],
    name: Annotated[str, typer.Option("--name", help="The image set's name.")],
    side: Annotated[
        int, typer.Option("--side", min=8, help="Pixels a side (folders; an .npz is taken as it is).")
    ] = DEFAULT_SIDE,
    grey: Annotated[bool, typer.Option("--grey", help="One channel instead of three (folders).")] = False,
    prefix: Annotated[
        int | None, typer.Option("--prefix", min=1, help="How many images give the first answers.")
    ] = None,
    parts: Annotated[
        str | None, typer.Option("--parts", help="Images in the parts attack,select,report: 500,150,150.")
    ] = None,
    description: Annotated[str | None, typer.Option("--description", help="Where the images are from.")] = None,
    protocol: Annotated[str, typer.Option("--protocol", help="The attack to compare with.")] = "pgd",
    default: Annotated[bool, typer.Option("--default", help="Make it the default comparison.")] = False,
    paused: Annotated[bool, typer.Option("--paused", help="Measure nothing yet.")] = False,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Import images and begin to measure on them.

    Again with the same images is harmless, and without --paused starts a paused comparison.
    """
    counts = None if parts is None else _parts(parts)
    with connect(url) as registry, tempfile.TemporaryDirectory(prefix="sat-images-") as scratch:
        content = Path(scratch) / "images.safetensors"
        squares = _convert(source, content, side=side, channels=1 if grey else 3)
        metadata: dict[str, Any] = {"name": name, "classes": squares.classes}
        metadata |= {
            field: value
            for field, value in (("parts", counts), ("prefix", prefix), ("description", description))
            if value is not None
        }
        with bar("sending", content.stat().st_size, "bytes") as sent:
            image_set = registry.create_image_set(metadata, content, sent)
        state = "paused" if paused else "measuring"
        comparison = registry.compare(name, protocol, state=state, default=True if default else None)
    if as_json:
        print_json({"image_set": image_set, "comparison": comparison})
        return
    say(
        f"{name}: {squares.n} images of {len(squares.classes)} classes, {squares.side} x {squares.side} x "
        f"{squares.channels}, in the parts {_described(image_set['parts'])}, the first {image_set['prefix']} first."
    )
    say(f"{comparison['name']} is {comparison['state']}{', the default' if comparison['default'] else ''}.")


@images.command("list")
def list_images(*, url: Url = None, as_json: AsJson = False) -> None:
    """List the image sets."""
    from client.tables.models import image_sets_table

    with connect(url) as registry:
        found = list(registry.image_sets())
    if as_json:
        print_json({"items": found, "next": None, "total": len(found)})
    elif found:
        console.print(image_sets_table(found))
    else:
        say("There is no image set yet: `sat images import <folder> --name <name>`.")


@images.command("download")
def download_images(
    name: Annotated[str, typer.Argument(help="The image set.")],
    *,
    to: Annotated[Path | None, typer.Option("--to", help="The file to write; else <name>.safetensors here.")] = None,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Write an image set's images and labels to a file (safetensors), whole or not at all."""
    path = to if to is not None else Path(f"{name}.safetensors")
    with connect(url) as registry:
        write_file(partial(registry.image_set_content, name), path, {"image_set": name}, as_json=as_json)


def _convert(source: Path, content: Path, *, side: int, channels: int) -> Any:
    from client import squares  # numpy and Pillow

    if source.is_dir():
        total = squares.count_images(source)
        with bar("reading", total) as done:
            return squares.write_folder(source, content, side=side, channels=channels, tick=done)
    if not source.exists():
        raise InputError(f"{source} does not exist: give a folder of class folders, or an .npz.")
    if source.suffix.lower() != ".npz":
        raise InputError(f"{source} is neither a folder of class folders nor an .npz.")
    with bar("reading", None) as done:
        return squares.write_npz(source, content, tick=done)


def _parts(text: str) -> dict[str, int]:
    counts = text.split(",")
    if len(counts) != len(PART_NAMES) or not all(number.strip().isdecimal() for number in counts):
        raise InputError(f"--parts {text!r} must be three numbers, attack,select,report, such as 500,150,150.")
    return {part: int(number) for part, number in zip(PART_NAMES, counts, strict=True)}


def _described(parts: dict[str, int]) -> str:
    return ", ".join(f"{part} {number}" for part, number in parts.items())
