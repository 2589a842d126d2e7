"""Resizing is the antialiased triangle filter, rounded, and depends on nothing but the image."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sat_engine.geometry import resize

Resizer = Callable[[np.ndarray, int], np.ndarray]
RNG = np.random.default_rng(0)


@pytest.mark.parametrize(("source", "side"), [(8, 32), (32, 24), (24, 32), (36, 32), (64, 7), (3, 50)])
@pytest.mark.parametrize("channels", [1, 3])
def test_resize_is_the_triangle_filter_rounded_to_bytes(
    source: int, side: int, channels: int, exactly_resized: Resizer
) -> None:
    images = RNG.integers(0, 256, (5, source, source, channels), dtype=np.uint8)
    resized = resize(images, side)
    assert resized.dtype == np.uint8
    assert resized.shape == (5, side, side, channels)
    # half a level, and what float32 may lose
    assert np.abs(resized - exactly_resized(images, side)).max() <= 0.5 + 1e-3


def test_equal_sizes_change_nothing() -> None:
    images = RNG.integers(0, 256, (2, 9, 9, 3), dtype=np.uint8)
    assert np.array_equal(resize(images, 9), images)


@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 255))
@settings(max_examples=50)
def test_a_flat_image_stays_flat(source: int, side: int, level: int) -> None:
    assert (resize(np.full((1, source, source, 1), level, np.uint8), side) == level).all()


def test_an_image_does_not_depend_on_its_neighbours() -> None:
    images = RNG.integers(0, 256, (70, 32, 32, 3), dtype=np.uint8)
    alone = np.concatenate([resize(images[i : i + 1], 24) for i in range(len(images))])
    assert np.array_equal(resize(images, 24), alone)


def test_no_images_are_no_images() -> None:
    assert resize(np.empty((0, 8, 8, 3), np.uint8), 4).shape == (0, 4, 4, 3)
