"""Handwritten digits as square grey images: scikit-learn's `load_digits`, scaled up.

The 1,797 scans of 8 x 8 pixels and 17 levels become uint8 squares of 32 x 32. 997 of them train the zoo; the
other 800 are held out and make the image set. Which is which is fixed by a hash, so that every version of every
library splits alike.
"""

import hashlib
from functools import cache

import numpy as np
from numpy.typing import NDArray

CLASSES: tuple[str, ...] = tuple("0123456789")
SIDE = 32
CHANNELS = 1
HELD_OUT = 800
LEVELS = 16  # load_digits counts inked pixels of 4 x 4 blocks

Images = NDArray[np.uint8]
Labels = NDArray[np.int64]


def training() -> tuple[Images, Labels]:
    """Return the images (997, 32, 32, 1) that networks learn from, and their labels (997,)."""
    images, labels, order = _scans()
    return images[order[HELD_OUT:]], labels[order[HELD_OUT:]]


def held_out() -> tuple[Images, Labels]:
    """Return the images (800, 32, 32, 1) that no network has seen, and their labels (800,)."""
    images, labels, order = _scans()
    return images[order[:HELD_OUT]], labels[order[:HELD_OUT]]


@cache
def _scans() -> tuple[Images, Labels, NDArray[np.int64]]:
    from PIL import Image
    from sklearn.datasets import load_digits

    scans = load_digits()
    levels = np.rint(scans.images * (255 / LEVELS)).astype(np.uint8)
    squares = [Image.fromarray(scan).resize((SIDE, SIDE), Image.Resampling.BILINEAR) for scan in levels]
    images = np.stack([np.asarray(square) for square in squares])[..., None]
    order = np.array(sorted(range(len(images)), key=_place), dtype=np.int64)
    return images, scans.target.astype(np.int64), order


def _place(index: int) -> bytes:
    return hashlib.sha256(f"digits:{index}".encode()).digest()
