"""Laws of the clustering, on planted matrices and on the ones that break naive implementations."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.metrics import adjusted_rand_score

from sat_engine.clustering import cluster
from sat_engine.errors import NotComputableError

FLOOR = np.log(0.01)


def planted(sizes: list[int], *, inside: float = 3.5, across: float = 2.6, seed: int = 0) -> tuple[NDArray, NDArray]:
    """Return SAT (n, n) with the given blocks, per-model effects and noise as in the published matrix; and labels."""
    draw = np.random.default_rng(seed)
    blocks = np.repeat(np.arange(len(sizes)), sizes)
    n = len(blocks)
    noise = np.tril(draw.normal(0, 0.2, (n, n)), -1)
    effect = draw.normal(0, 0.15, n)
    sat = np.where(blocks[:, None] == blocks, inside, across) + noise + noise.T + effect[:, None] + effect
    np.fill_diagonal(sat, 4.6)
    return np.clip(sat, FLOOR, 4.6), blocks


@pytest.mark.parametrize("sizes", [[5, 5, 5], [10] * 6, [20, 10, 5, 5], [12, 3, 3], [4, 4, 4], [7] * 10, [40, 3]])
def test_the_planted_number_of_clusters_is_suggested_and_found(sizes: list[int]) -> None:
    sat, blocks = planted(sizes, seed=1)
    found = cluster(sat)
    assert found.suggested
    assert found.k == len(sizes)
    assert adjusted_rand_score(blocks, found.labels) == 1
    assert found.stability == 1
    assert found.silhouette is not None
    assert found.silhouette > 0.3


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10_000), k=st.integers(1, 8), named=st.booleans())
def test_the_order_of_models_changes_nothing(seed: int, k: int, named: bool) -> None:  # noqa: FBT001 - drawn
    sat, _ = planted([4, 3, 3, 2], inside=3.0, seed=seed)
    shuffle = np.random.default_rng(seed).permutation(len(sat))
    ids = [f"model-{i}" for i in range(len(sat))]
    straight = cluster(sat, k=k, ids=ids if named else None)
    shuffled = cluster(sat[np.ix_(shuffle, shuffle)], k=k, ids=[ids[i] for i in shuffle] if named else None)
    assert shuffled.labels.tolist() == straight.labels[shuffle].tolist()
    assert (shuffled.stability, shuffled.silhouette) == (straight.stability, straight.silhouette)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10_000), n=st.integers(1, 12), data=st.data())
def test_there_are_k_clusters_largest_first(seed: int, n: int, data: st.DataObject) -> None:
    k = data.draw(st.integers(1, n))
    found = cluster(planted([n], seed=seed)[0], k=k)
    sizes = np.bincount(found.labels)
    assert len(sizes) == found.k == k
    assert sizes.min() >= 1
    assert sizes.tolist() == sorted(sizes, reverse=True)
    assert not found.suggested
    assert -1 <= found.stability <= 1


def test_equal_sizes_are_numbered_by_their_first_member() -> None:
    sat, blocks = planted([3, 3, 3])
    shuffle = np.random.default_rng(5).permutation(9)
    ids = [f"model-{blocks[i]}-{i}" for i in shuffle]
    assert cluster(sat[np.ix_(shuffle, shuffle)], k=3, ids=ids).labels.tolist() == blocks[shuffle].tolist()


def test_a_seed_fixes_the_answer() -> None:
    sat, _ = planted([6, 6, 6], inside=2.8, seed=3)
    one, again = cluster(sat, k=5, seed=7), cluster(sat, k=5, seed=7)
    assert one.labels.tolist() == again.labels.tolist()
    assert one.stability == again.stability


def test_without_structure_seeds_disagree_and_the_figures_say_so() -> None:
    found = cluster(planted([40], seed=2)[0], k=8)
    assert found.stability < 0.8
    assert found.silhouette is not None
    assert found.silhouette < 0.1


def test_scores_near_the_floor_do_not_break_it() -> None:
    # raw SAT is negative here (rates below 1 %), which no spectral clustering survives
    sat, blocks = planted([6, 6], inside=0.5, across=-3.5)
    assert cluster(sat, k=2).labels.tolist() == blocks.tolist()


def test_disconnected_blocks_are_found_and_a_lone_model_is_its_own() -> None:
    blocks = np.array([0, 0, 0, 0, 1, 1, 1, 2])
    sat = np.where(blocks[:, None] == blocks, 3.0, FLOOR)
    found = cluster(sat)
    assert found.k == 3
    assert found.labels.tolist() == blocks.tolist()
    assert found.stability == 1
    assert cluster(sat, k=2).labels.tolist() == cluster(sat, k=2, seed=0).labels.tolist()


@pytest.mark.parametrize("score", [FLOOR, 2.7, np.log(100)])
def test_equal_affinities_are_one_cluster(score: float) -> None:
    found = cluster(np.full((6, 6), score))
    assert (found.k, found.labels.tolist(), found.stability) == (1, [0] * 6, 1)
    assert set(cluster(np.full((6, 6), score), k=2).labels.tolist()) == {0, 1}


def test_one_and_two_models() -> None:
    one = cluster([[4.5]])
    assert (one.labels.tolist(), one.k, one.stability, one.silhouette) == ([0], 1, 1, None)
    assert cluster([[4.5, 2.0], [2.0, 4.5]]).labels.tolist() == [0, 0]
    assert sorted(cluster([[4.5, 2.0], [2.0, 4.5]], k=2).labels.tolist()) == [0, 1]


def test_missing_pairs_are_refused_with_their_number() -> None:
    sat, _ = planted([4, 4])
    sat[0, 3] = sat[3, 0] = sat[2, 7] = sat[7, 2] = np.nan
    with pytest.raises(NotComputableError, match="2 of 28 pairs have no score yet"):
        cluster(sat, k=2)


def test_the_diagonal_is_not_read() -> None:
    sat, _ = planted([4, 4])
    bare = sat.copy()
    np.fill_diagonal(bare, np.nan)
    assert cluster(bare, k=2).labels.tolist() == cluster(sat, k=2).labels.tolist()


@pytest.mark.parametrize("k", [0, -1, 9])
def test_an_impossible_k_is_refused_with_the_range(k: int) -> None:
    with pytest.raises(NotComputableError, match="ask for 1 to 8"):
        cluster(planted([4, 4])[0], k=k)


def test_no_models_at_all() -> None:
    with pytest.raises(NotComputableError, match="no models"):
        cluster(np.empty((0, 0)))


def test_malformed_matrices_are_refused() -> None:
    with pytest.raises(ValueError, match="square"):
        cluster(np.zeros((2, 3)))
    with pytest.raises(ValueError, match="symmetric"):
        cluster([[4.0, 1.0], [2.0, 4.0]])
    with pytest.raises(ValueError, match="different ids"):
        cluster([[4.0, 1.0], [1.0, 4.0]], ids=["a", "a"])
