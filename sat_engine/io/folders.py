"""Labelled images from a folder of class folders."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from sat_engine.errors import EngineError

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff"})
# Pillow would go by a file's content, and have Ghostscript run a PostScript file that is called .png.
FORMATS = ("PNG", "JPEG", "BMP", "WEBP", "TIFF")


class FolderError(EngineError):
    """The folder does not hold labelled images."""


def read_folder(
    path: Path | str, side: int, *, classes: Sequence[str] | None = None
) -> tuple[NDArray[np.uint8], NDArray[np.int64], tuple[str, ...]]:
    """Return images uint8 (n, side, side, 3), labels int64 (n,) and the class names, in order of path.

    Each folder below path is a class and its number that folder's place among the sorted names, or in classes. The
    shorter side is brought to `side` and the middle cut out. FolderError names what is wrong.
    """
    root = Path(path)
    if not root.is_dir():
        raise FolderError(f"{root} is no folder; give one with a folder of images for each class")
    found = sorted(folder.name for folder in root.iterdir() if folder.is_dir())
    names = tuple(classes) if classes is not None else tuple(found)
    if unknown := sorted(set(found) - set(names)):
        raise FolderError(f"{root} has folders that are no class: {', '.join(unknown[:5])}")
    files = [(file, names.index(name)) for name in found for file in sorted((root / name).iterdir()) if _is_image(file)]
    if not files:
        raise FolderError(f"{root} holds no images; put them into one folder for each class ({', '.join(SUFFIXES)})")
    images = np.stack([_read(file, side) for file, _ in files])
    return images, np.array([label for _, label in files], np.int64), names


def _is_image(path: Path) -> bool:
    return path.is_file() and path.suffix.lower() in SUFFIXES


def _read(path: Path, side: int) -> NDArray[np.uint8]:
    try:
        with Image.open(path, formats=FORMATS) as image:
            upright = ImageOps.exif_transpose(image).convert("RGB")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise FolderError(f"{path} cannot be read as an image ({error}); remove it or save it anew") from error
    return np.asarray(ImageOps.fit(upright, (side, side), Image.Resampling.BILINEAR))
