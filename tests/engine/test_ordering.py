"""The order of an image set is a permutation that anyone can recompute."""

from hashlib import sha256

from hypothesis import given
from hypothesis import strategies as st

from sat_engine.ordering import order


@given(st.integers(0, 300), st.integers(0, 2**63 - 1))
def test_an_order_holds_every_index_once(n: int, seed: int) -> None:
    assert sorted(order(n, seed).tolist()) == list(range(n))


def test_the_order_is_that_of_the_hashes_written_out() -> None:
    by_hand = [index for _, index in sorted((sha256(f"7:{index}".encode()).hexdigest(), index) for index in range(50))]
    assert order(50, 7).tolist() == by_hand


PINNED = [7, 4, 3, 2, 6, 0, 5, 1]


def test_the_order_never_changes() -> None:
    assert order(8, 0).tolist() == PINNED
    assert order(8, 1).tolist() != PINNED
