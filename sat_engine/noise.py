"""The noise control: a random corner of the ball around each image, seeded image by image."""

from fractions import Fraction

import numpy as np
from numpy.typing import NDArray


def levels(epsilon: Fraction) -> int:
    """Return the whole levels of 0 … 255 that epsilon, in units of a [0, 1] pixel, leaves room for."""
    return int(255 * epsilon)


def corners(
    images: NDArray[np.uint8], positions: NDArray[np.integer], *, epsilon: Fraction, seed: int
) -> NDArray[np.uint8]:
    """Return images (n, s, s, channels), each pixel moved up or down by epsilon and clipped to 0 … 255.

    The directions are the raw bits of Philox keyed by (seed, position in the attack part): they depend neither on
    the batch nor on how a library version turns bits into numbers.
    """
    moved = images.astype(np.int16)
    for image, position in zip(moved, positions, strict=True):
        image += levels(epsilon) * _signs(seed, int(position), image.size).reshape(image.shape)  # noqa: PLW2901  # in place
    return np.clip(moved, 0, 255).astype(np.uint8)


def _signs(seed: int, position: int, count: int) -> NDArray[np.int16]:
    words = np.random.Philox(key=np.array([seed, position], np.uint64)).random_raw(-(-count // 64))
    bits = np.unpackbits(words.astype("<u8").view(np.uint8), bitorder="little", count=count)
    return 2 * bits.astype(np.int16) - 1
