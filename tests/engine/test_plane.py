"""Laws of the map: it keeps neighbours, and depends on nothing but the scores."""

import numpy as np
import pytest

from sat_engine.errors import NotComputableError
from sat_engine.plane import place


def groups(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """SAT (n, n) of three groups of models that are alike inside, and the groups."""
    rng = np.random.default_rng(seed)
    group = np.arange(n) % 3
    sat = np.where(group[:, None] == group, 4.2, 2.0) + rng.normal(0, 0.05, (n, n))
    sat = (sat + sat.T) / 2
    np.fill_diagonal(sat, np.nan)
    return sat, group


def names(n: int) -> list[str]:
    return [f"model-{index:03}" for index in range(n)]


def test_models_that_are_alike_lie_together() -> None:
    sat, group = groups(45)
    found = place(sat, ids=names(45))
    distances = np.linalg.norm(found.coordinates[:, None] - found.coordinates, axis=2)
    np.fill_diagonal(distances, np.inf)
    assert (group[distances.argmin(axis=1)] == group).all()
    assert found.trustworthiness is not None
    assert found.trustworthiness > 0.8
    np.testing.assert_allclose(found.coordinates.mean(axis=0), 0, atol=1e-4)


def test_the_order_in_which_models_come_changes_nothing() -> None:
    sat, _ = groups(21)
    order = np.random.default_rng(1).permutation(21)
    first = place(sat, ids=names(21))
    again = place(sat[np.ix_(order, order)], ids=[names(21)[index] for index in order])
    np.testing.assert_array_equal(again.coordinates, first.coordinates[order])
    assert again.trustworthiness == first.trustworthiness


@pytest.mark.parametrize("n", [1, 2, 3, 4, 7, 10, 12])
def test_a_small_zoo_has_a_map_too(n: int) -> None:
    sat, _ = groups(n)
    found = place(sat, ids=names(n))
    assert found.coordinates.shape == (n, 2)
    assert np.isfinite(found.coordinates).all()
    assert (found.perplexity is None) == (n < 10)
    assert (found.trustworthiness is None) == (n < 4)
    assert np.abs(found.coordinates).max() < 100


def test_models_that_are_all_equally_alike_do_not_end_in_one_point() -> None:
    found = place(np.full((12, 12), 3.0), ids=names(12))
    assert len(np.unique(found.coordinates.round(6), axis=0)) > 1


def test_two_models_lie_as_far_apart_as_their_distance_says() -> None:
    found = place(np.array([[np.nan, 3.0], [3.0, np.nan]]), ids=["a", "b"])
    assert np.linalg.norm(found.coordinates[0] - found.coordinates[1]) == pytest.approx(np.log(100) - 3.0)


def test_missing_pairs_and_an_empty_zoo_are_told() -> None:
    sat, _ = groups(6)
    sat[1, 2] = sat[2, 1] = np.nan
    with pytest.raises(NotComputableError, match="1 of 15 pairs"):
        place(sat, ids=names(6))
    with pytest.raises(NotComputableError, match="register some"):
        place(np.zeros((0, 0)), ids=[])
