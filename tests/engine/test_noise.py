"""The noise control moves every pixel by the whole epsilon, and depends on the image's position alone."""

from fractions import Fraction

import numpy as np

from sat_engine import noise

GREY = np.full((20, 9, 9, 3), 128, np.uint8)
POSITIONS = np.arange(20)
EIGHT = Fraction(8, 255)


def test_every_pixel_lands_on_a_corner_of_the_ball() -> None:
    moved = noise.corners(GREY, POSITIONS, epsilon=EIGHT, seed=0)
    assert set(np.unique(moved)) == {120, 136}
    assert abs((moved == 136).mean() - 0.5) < 0.05, "both directions are equally likely"


def test_the_image_set_s_own_range_is_kept() -> None:
    black_and_white = np.where(GREY > 0, np.arange(9, dtype=np.uint8)[:, None] % 2 * 255, 0).astype(np.uint8)
    moved = noise.corners(black_and_white, POSITIONS, epsilon=EIGHT, seed=0)
    assert set(np.unique(moved)) == {0, 8, 247, 255}


def test_noise_does_not_depend_on_the_batch() -> None:
    whole = noise.corners(GREY, POSITIONS, epsilon=EIGHT, seed=3)
    backwards = noise.corners(GREY[::-1], POSITIONS[::-1], epsilon=EIGHT, seed=3)[::-1]
    assert np.array_equal(whole, backwards)
    assert np.array_equal(whole[7:8], noise.corners(GREY[:1], np.array([7]), epsilon=EIGHT, seed=3))


def test_positions_and_seeds_give_other_noise() -> None:
    moved = noise.corners(GREY, POSITIONS, epsilon=EIGHT, seed=0)
    assert len({image.tobytes() for image in moved}) == len(moved)
    assert not np.array_equal(moved, noise.corners(GREY, POSITIONS, epsilon=EIGHT, seed=1))


def test_the_noise_never_changes() -> None:
    # of a stored rung, every bit must be the same after any upgrade of numpy
    corner = noise.corners(GREY[:1, :2, :2], np.array([5]), epsilon=Fraction(1, 255), seed=11)
    assert corner.ravel().tolist() == [129, 127, 127, 129, 127, 127, 127, 129, 129, 129, 129, 129]


def test_no_epsilon_is_no_noise() -> None:
    assert np.array_equal(noise.corners(GREY, POSITIONS, epsilon=Fraction(0), seed=0), GREY)
