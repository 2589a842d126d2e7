"""The ladder's table, from bits that are drawn and not measured."""

import numpy as np
import pytest

from examples.digits.ladder import PREFIXES, against, apart, at, errors, table
from sat_engine.matrix import SatMatrix, assemble

NETWORKS, IMAGES = 20, 800


def drawn(rates: np.ndarray) -> SatMatrix:
    """Networks that are always right, each fooled by each on the shares (m, m, n) of images."""
    fooled = np.random.default_rng(0).random(rates.shape) < rates
    return assemble([f"net-{i}" for i in range(len(rates))], np.ones((len(rates), rates.shape[2]), np.bool_), fooled)


@pytest.fixture
def even() -> SatMatrix:
    """A matrix in which no image differs from another but by chance."""
    rates = np.random.default_rng(1).uniform(0.05, 0.5, (NETWORKS, NETWORKS, 1))
    return drawn(np.broadcast_to(rates, (NETWORKS, NETWORKS, IMAGES)))


def test_a_prefix_of_like_images_differs_from_the_rest_on_one_pair_of_twenty(even: SatMatrix) -> None:
    part, rest = at(even, np.arange(300)), at(even, np.arange(300, IMAGES))
    assert 0.02 <= apart(part, rest) <= 0.08
    assert errors(part, even).mean() < errors(part, rest).mean()
    assert float(against(part, even)[2]) > float(against(part, rest)[2]) > 0.9


def test_a_prefix_of_harder_images_differs_on_most_pairs() -> None:
    rates = np.full((NETWORKS, NETWORKS, IMAGES), 0.3)
    rates[:, :, :300] = 0.5
    whole = drawn(rates)
    assert apart(at(whole, np.arange(300)), at(whole, np.arange(300, IMAGES))) > 0.9


def test_the_table_has_a_row_a_prefix(even: SatMatrix) -> None:
    lines = list(table(even))
    assert [line.split("|")[1].strip() for line in lines[2:]] == [str(prefix) for prefix in PREFIXES]
    assert len({line.count("|") for line in lines}) == 1
