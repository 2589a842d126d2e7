"""Packed bits give back exactly what was packed, and refuse what was not."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sat_engine import bits


@given(st.lists(st.booleans(), max_size=200))
def test_unpack_undoes_pack(outcomes: list[bool]) -> None:
    packed = bits.pack(np.array(outcomes, np.bool_))
    assert bits.unpack(packed, len(outcomes)).tolist() == outcomes
    assert bits.count(packed) == sum(outcomes)
    assert len(packed) == -(-len(outcomes) // 8)


def test_the_first_image_is_the_highest_bit() -> None:
    assert bits.pack(np.array([True] + [False] * 8)) == b"\x80\x00"


@pytest.mark.parametrize(("packed", "n"), [(b"\x80", 9), (b"\x80\x00", 8), (b"", 1), (b"\x01", 7)])
def test_bits_of_another_length_are_refused(packed: bytes, n: int) -> None:
    with pytest.raises(ValueError, match="bits"):
        bits.unpack(packed, n)


@pytest.mark.parametrize("outcomes", [np.zeros(8, np.uint8), np.zeros((2, 4), np.bool_)])
def test_only_flat_booleans_are_packed(outcomes: np.ndarray) -> None:
    with pytest.raises(ValueError, match="bool"):
        bits.pack(outcomes)
