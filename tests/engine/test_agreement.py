"""Agreement is of rankings, and models, not pairs, are what is drawn anew."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import spearmanr

from sat_engine import agreement
from sat_engine.agreement import compare
from sat_engine.errors import NotComputableError

Floats = NDArray[np.float64]


def symmetric(rng: np.random.Generator, m: int) -> Floats:
    """A symmetric matrix of normal numbers."""
    noise = rng.normal(size=(m, m))
    return (noise + noise.T) / 2**0.5


def world(rng: np.random.Generator, m: int, *, shared: float) -> tuple[Floats, Floats]:
    """Two ways of measuring whose effects of each model share this correlation, with noise of each pair on top."""
    first, other = rng.normal(size=(2, m))
    second = shared * first + (1 - shared**2) ** 0.5 * other
    one, two = (effects[:, None] + effects + 0.7 * symmetric(rng, m) for effects in (first, second))
    return one, two


def of_pairs(matrix: Floats) -> Floats:
    """The upper triangle."""
    return matrix[np.triu_indices(len(matrix), 1)]


def test_a_way_of_measuring_agrees_with_itself_and_opposes_its_opposite(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agreement, "RESAMPLINGS", 100)
    matrix = symmetric(np.random.default_rng(0), 15)
    same, turned = compare(matrix, np.exp(matrix)), compare(matrix, -matrix)
    assert same.spearman == pytest.approx(1)
    assert same.interval == pytest.approx((1, 1))
    assert same.p_value == pytest.approx(1 / 1000)
    assert turned.spearman == pytest.approx(-1)
    assert turned.p_value == 1
    assert (same.models, same.of_models, same.pairs) == (15, 15, 105)


@given(st.integers(5, 20), st.integers(0, 10_000), st.floats(0, 0.5))
def test_the_correlation_is_spearman_s_over_the_pairs_measured_in_both(m: int, seed: int, missing: float) -> None:
    rng = np.random.default_rng(seed)
    # whole numbers, so that there are ties
    first, second = (np.round(symmetric(rng, m)) for _ in range(2))
    gone = np.triu(rng.random((m, m)) < missing, 1)
    second[gone | gone.T] = np.nan
    one, two = of_pairs(first), of_pairs(second)
    both = np.isfinite(two)
    if np.isfinite(second).sum(axis=1).astype(bool).sum() < 4 or len(set(one[both])) < 2 or len(set(two[both])) < 2:
        return
    pairs = agreement._Pairs(first, second, np.isfinite(second) & ~np.eye(m, dtype=bool))
    assert pairs.spearman(np.ones(m)) == pytest.approx(spearmanr(one[both], two[both]).statistic)
    assert pairs.difference(np.ones(m)) == pytest.approx((two - one)[both].mean())


def test_a_model_drawn_twice_counts_twice_and_is_no_pair_with_itself() -> None:
    rng = np.random.default_rng(3)
    first, second = symmetric(rng, 6), symmetric(rng, 6)
    weights = np.array([2, 0, 1, 1, 2, 0])
    drawn = np.repeat(np.arange(6), weights)
    pairs = [(i, j) for i, j in combinations(drawn, 2) if i != j]
    expected = spearmanr([first[pair] for pair in pairs], [second[pair] for pair in pairs]).statistic
    assert agreement._Pairs(first, second, ~np.eye(6, dtype=bool)).spearman(weights) == pytest.approx(expected)


def test_renaming_the_models_changes_no_figure_that_is_not_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    first, second = world(rng, 40, shared=0.8)
    order = rng.permutation(40)
    one, other = compare(first, second), compare(first[np.ix_(order, order)], second[np.ix_(order, order)])
    assert one.spearman == pytest.approx(other.spearman)
    assert one.mean_difference == pytest.approx(other.mean_difference)
    # drawn for other models, the interval moves by no more than drawing does
    assert one.interval == pytest.approx(other.interval, abs=0.03)
    assert compare(first, second) == one, "the draws are seeded"


def test_unrelated_ways_agree_about_nothing() -> None:
    rng = np.random.default_rng(2)
    first, second = world(rng, 60, shared=0.9)
    order = rng.permutation(60)
    found = compare(first, second[np.ix_(order, order)])
    assert found.interval is not None
    assert found.interval.low < 0 < found.interval.high
    assert found.p_value is not None
    assert found.p_value > 0.01


def test_the_interval_covers_the_truth_where_that_of_pairs_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agreement, "RESAMPLINGS", 200)
    monkeypatch.setattr(agreement, "PERMUTATIONS", 1)
    rng = np.random.default_rng(4)
    # the truth of this world, from two million pairs that share no model
    effects = rng.normal(size=(2_000_000, 2, 2))
    second = 0.5 * effects[:, 0] + 0.75**0.5 * effects[:, 1]
    values = (each.sum(axis=1) + 0.7 * rng.normal(size=len(each)) for each in (effects[:, 0], second))
    truth = spearmanr(*values).statistic
    covered, naive, rounds = 0, 0, 120
    for _ in range(rounds):
        first, other = world(rng, 25, shared=0.5)
        found = compare(first, other)
        assert found.interval is not None
        assert found.spearman is not None
        covered += found.interval.low <= truth <= found.interval.high
        # Fisher's interval, as if the 300 pairs were independent
        naive += abs(np.arctanh(found.spearman) - np.arctanh(truth)) <= 1.96 / 297**0.5
    assert 0.89 <= covered / rounds <= 0.99
    assert naive / rounds < 0.7


def test_the_mantel_test_is_seldom_wrong_under_effects_of_models(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agreement, "RESAMPLINGS", 1)
    monkeypatch.setattr(agreement, "PERMUTATIONS", 39)
    rng = np.random.default_rng(5)
    values = [compare(*world(rng, 15, shared=0)).p_value for _ in range(300)]
    assert np.mean([value is not None and value <= 0.05 for value in values]) < 0.09


def test_too_little_to_compare_is_said() -> None:
    matrix = symmetric(np.random.default_rng(0), 8)
    alone = np.full((8, 8), np.nan)
    alone[:3, :3] = matrix[:3, :3]
    with pytest.raises(NotComputableError, match="3 models"):
        compare(matrix, alone)
    with pytest.raises(ValueError, match="same models"):
        compare(matrix, matrix[:5, :5])
    flat = compare(matrix, np.ones((8, 8)))
    assert (flat.spearman, flat.p_value, flat.interval) == (None, None, None)


def test_of_many_models_a_sample_is_compared_within_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agreement, "RESAMPLINGS", 20)
    monkeypatch.setattr(agreement, "PERMUTATIONS", 19)
    first, second = world(np.random.default_rng(6), 1300, shared=0.9)
    found = compare(first, second)
    assert (found.models, found.of_models) == (agreement.MOST_MODELS, 1300)
    assert found.spearman is not None
    assert found.spearman > 0.6
