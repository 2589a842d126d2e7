"""From images on disk to the file of an image set: square uint8 images and their labels, in a fixed order.

The file is a safetensors file with `labels` I64 (n,) and `images` U8 (n, side, side, channels). It is written through
a memory map, image by image, so that an image set may be larger than memory. The same images give the same bytes.
"""

import errno
import io
import json
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from client.errors import InputError

Tick = Callable[[int], None]  # called with the number of images written

SUFFIXES = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".pgm", ".tif", ".tiff", ".webp"})
# Pillow would go by a file's content, and have Ghostscript run a PostScript file that is called .png.
FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
MAX_ASPECT = 16  # of what is resized; the middle square is kept in any case
BLOCK_BYTES = 1 << 24  # of an .npz read at a time
HEADER_BYTES = 1 << 14  # of an array of an .npz; numpy itself reads 10,000
MAX_IMAGES, MAX_SIDE, MAX_CLASSES = 10**9, 4096, 100_000  # more than the registry takes
NAME_BYTES = 800  # of a class in an .npz: 200 characters
MODE = {1: "L", 3: "RGB"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Squares:
    """What an image set's file holds."""

    classes: tuple[str, ...]
    n: int
    side: int
    channels: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Photograph:
    """One file of a folder of class folders, and the index of its class."""

    path: Path
    label: int


def write_folder(folder: Path, to: Path, *, side: int, channels: int, tick: Tick | None = None) -> Squares:
    """Write the images below `folder`, a folder for each class, to the file `to`.

    Every image is turned as its EXIF says, its shorter side resized (antialiased, bilinear) to `side`, and cropped
    in the middle. Classes and files are taken in the order of their names.

    Raises:
        InputError: it names the file or folder that cannot be used.
    """
    classes, photographs = _listed(folder)
    squares = Squares(classes=classes, n=len(photographs), side=side, channels=channels)
    with _written(to, squares) as (images, labels):
        for row, photograph in enumerate(photographs):
            images[row] = _square(photograph.path, side, channels)
            labels[row] = photograph.label
            if tick is not None:
                tick(1)
    return squares


def count_images(source: Path) -> int | None:
    """Return how many images a folder of class folders holds; None for an .npz, which tells when it is opened."""
    return len(_listed(source)[1]) if source.is_dir() else None


def write_npz(source: Path, to: Path, *, tick: Tick | None = None) -> Squares:
    """Write the arrays of an .npz (`images`, `labels`, optionally `classes`) to the file `to`, as they are.

    Nothing pickled is ever loaded; `images` is read in blocks.

    Raises:
        InputError: it says which array cannot be used, and why.
    """
    try:
        with zipfile.ZipFile(source) as archive:
            return _converted(source, archive, to, tick)
    # a member that is no deflated data, ends early, has a method that zipfile does not know, or a password
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise InputError(f"{source} is not an .npz archive ({error}): write it with numpy.savez.") from error
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        # where it says that a member begins lies before the file
        raise InputError(f"{source} is not an .npz archive: write it with numpy.savez.") from error


def _converted(source: Path, archive: zipfile.ZipFile, to: Path, tick: Tick | None) -> Squares:
    with _member(source, archive, "images") as (file, shape, dtype):
        _check_images(source, shape, dtype)
        # as many as there are images: an archive of some megabytes may unfold to any number
        labels = _small_array(source, archive, "labels", 8 * shape[0])
        _check_labels(source, labels, shape[0])
        classes = _class_names(source, archive, labels)
        channels = shape[3] if len(shape) == 4 else 1  # noqa: PLR2004 (n, h, w, channels)
        squares = Squares(classes=classes, n=shape[0], side=shape[1], channels=channels)
        with _written(to, squares) as (images, written_labels):
            written_labels[:] = labels
            _copy(source, file, images, tick)
    return squares


def _copy(source: Path, file: IO[bytes], images: NDArray[np.uint8], tick: Tick | None) -> None:
    image_bytes = images[0].nbytes
    rows = max(1, BLOCK_BYTES // image_bytes)
    for start in range(0, len(images), rows):
        block = images[start : start + rows]
        pixels = file.read(block.nbytes)
        if len(pixels) != block.nbytes:
            raise InputError(f"{source}: `images` ends early; write the file again.")
        block[:] = np.frombuffer(pixels, np.uint8).reshape(block.shape)
        if tick is not None:
            tick(len(block))


@contextmanager
def _written(to: Path, squares: Squares) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.int64]]]:
    """Yield the arrays images and labels of a new safetensors file, mapped for writing."""
    shape = [squares.n, squares.side, squares.side, squares.channels]
    label_bytes, image_bytes = 8 * squares.n, int(np.prod(shape, dtype=np.int64))
    header = {
        "labels": {"dtype": "I64", "shape": [squares.n], "data_offsets": [0, label_bytes]},
        "images": {"dtype": "U8", "shape": shape, "data_offsets": [label_bytes, label_bytes + image_bytes]},
    }
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # aligned, as the format asks for
    start = 8 + len(text)
    to.parent.mkdir(parents=True, exist_ok=True)
    with to.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        try:
            file.truncate(start + label_bytes + image_bytes)
        except OSError as error:
            raise InputError(
                f"{to} cannot hold {image_bytes:,} bytes of images ({error.strerror}): import fewer or smaller ones, "
                "or make room."
            ) from error
    labels = np.memmap(to, np.dtype("<i8"), "r+", start, (squares.n,))
    images = np.memmap(to, np.uint8, "r+", start + label_bytes, tuple(shape))
    yield images, labels
    images.flush()
    labels.flush()


def _listed(folder: Path) -> tuple[tuple[str, ...], list[Photograph]]:
    """Return the classes and all images in order."""
    entries = sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))
    loose = [entry for entry in entries if entry.is_file() and entry.suffix.lower() in SUFFIXES]
    if loose:
        raise InputError(f"{loose[0]} lies in no class folder: put each image into a folder named after its class.")
    folders = [entry for entry in entries if entry.is_dir()]
    if len(folders) < 2:  # noqa: PLR2004 (a task has at least two classes)
        raise InputError(f"{folder} needs at least two class folders with images in them; it has {len(folders)}.")
    photographs = []
    for label, class_folder in enumerate(folders):
        found = sorted(
            path
            for path in class_folder.rglob("*")
            if path.suffix.lower() in SUFFIXES and path.is_file() and not path.name.startswith(".")
        )
        if not found:
            raise InputError(f"The class folder {class_folder} holds no image: add some, or remove it.")
        photographs += [Photograph(path=path, label=label) for path in found]
    return tuple(entry.name for entry in folders), photographs


def _square(path: Path, side: int, channels: int) -> NDArray[np.uint8]:
    """Return the image as uint8 (side, side, channels)."""
    try:
        with Image.open(path, formats=FORMATS) as opened:
            if opened.mode.startswith(("I", "F")):
                raise InputError(f"{path} has more than 8 bits a channel: convert it to 8 bits first.")
            image = ImageOps.exif_transpose(opened).convert(MODE[channels])
    # a broken file makes Pillow raise SyntaxError and ValueError too
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise InputError(f"{path} cannot be read as an image ({error}): repair or remove it.") from error
    image = _without_ends(image)
    width, height = image.size
    shorter = min(width, height)
    if shorter != side:
        size = (round(width * side / shorter), round(height * side / shorter))
        image = image.resize(size, Image.Resampling.BILINEAR)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    cropped = image.crop((left, top, left + side, top + side))
    return np.asarray(cropped, np.uint8).reshape(side, side, channels)


def _without_ends(image: Image.Image) -> Image.Image:
    """The middle of a strip: one of 60,000 x 1 pixels would otherwise be resized to 15 million x 256."""
    width, height = image.size
    most = MAX_ASPECT * min(width, height)
    if max(width, height) <= most:
        return image
    left, top = max(0, (width - most) // 2), max(0, (height - most) // 2)
    return image.crop((left, top, left + min(width, most), top + min(height, most)))


@contextmanager
def _member(
    source: Path, archive: zipfile.ZipFile, name: str
) -> Iterator[tuple[IO[bytes], tuple[int, ...], np.dtype[Any]]]:
    """Yield an array of the archive as an open file behind its header, with its shape and type."""
    if f"{name}.npy" not in archive.namelist():
        held = ", ".join(entry.removesuffix(".npy") for entry in archive.namelist()) or "nothing"
        raise InputError(f"{source} has no array `{name}` (it holds {held}).")
    with archive.open(f"{name}.npy") as file:
        start = io.BytesIO(file.read(HEADER_BYTES))
        try:
            version = np.lib.format.read_magic(start)
            read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            shape, fortran, dtype = read(start)
        except Exception as error:  # numpy reads it as Python, whose parser raises errors of many kinds
            raise InputError(f"{source}: `{name}` is not a numpy array ({str(error)[:200]}).") from error
        if dtype.hasobject:
            raise InputError(
                f"{source}: `{name}` is an array of Python objects, as numpy makes of images of mixed sizes: "
                f"bring all to one size and type and save again."
            )
        if fortran and len(shape) > 1:
            raise InputError(f"{source}: `{name}` is in Fortran order: save numpy.ascontiguousarray of it.")
        file.seek(start.tell())
        yield file, shape, dtype


def _small_array(source: Path, archive: zipfile.ZipFile, name: str, most_bytes: int) -> NDArray[Any]:
    with _member(source, archive, name) as (file, shape, dtype):
        wanted = prod(shape) * dtype.itemsize
        if not 0 < wanted <= most_bytes:
            raise InputError(
                f"{source}: `{name}` has shape {shape} and type {dtype}, which is not 1 to {most_bytes:,} bytes: give "
                "one label an image, and one name a class."
            )
        content = file.read(wanted)
    if len(content) != wanted:
        raise InputError(f"{source}: `{name}` ends early; write the file again.")
    return np.frombuffer(content, dtype).reshape(shape)


def _check_images(source: Path, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    described = f"{source}: `images` has shape {shape} and type {dtype}"
    if dtype != np.uint8:
        raise InputError(f"{described}; it must be uint8, from 0 to 255.")
    if len(shape) not in (3, 4) or shape[1] != shape[2] or 0 in shape:
        raise InputError(f"{described}; it must be (n, side, side) or (n, side, side, channels).")
    if shape[0] > MAX_IMAGES or shape[1] > MAX_SIDE:
        raise InputError(f"{described}; at most {MAX_IMAGES:,} images of {MAX_SIDE} pixels a side are imported.")
    if len(shape) == 4 and shape[3] not in MODE:  # noqa: PLR2004 (n, h, w, channels)
        raise InputError(f"{described}; an image has 1 channel or 3, as the last axis.")


def _check_labels(source: Path, labels: NDArray[Any], n: int) -> None:
    if labels.shape != (n,) or labels.dtype.kind not in "iu":
        raise InputError(
            f"{source}: `labels` has shape {labels.shape} and type {labels.dtype}; it must be {n} integers."
        )
    if labels.min() < 0:
        raise InputError(f"{source}: `labels` holds {labels.min()}; classes count from 0.")


def _class_names(source: Path, archive: zipfile.ZipFile, labels: NDArray[Any]) -> tuple[str, ...]:
    """Return the array `classes`, or the numbers from 0 to the largest label."""
    largest = int(labels.max())
    if largest >= MAX_CLASSES:
        raise InputError(f"{source}: `labels` goes up to {largest}; at most {MAX_CLASSES:,} classes are imported.")
    if "classes.npy" not in archive.namelist():
        return tuple(str(label) for label in range(largest + 1))
    listed = _small_array(source, archive, "classes", MAX_CLASSES * NAME_BYTES)
    if listed.ndim != 1:
        raise InputError(f"{source}: `classes` has shape {listed.shape}; it must be a list of names.")
    names: Sequence[Any] = listed.tolist()
    if largest >= len(names):
        raise InputError(f"{source}: `labels` goes up to {largest}, but `classes` names only {len(names)}.")
    return tuple(str(name) for name in names)
