"""Laws of the importance of components, on zoos whose scores are known to depend on some of them."""

import csv
from pathlib import Path

import numpy as np
import pytest

from sat_engine.errors import NotComputableError
from sat_engine.importance import explain

REFERENCE = Path(__file__).parents[3] / "shared" / "reference"
NAMES = ("Base", "Stem", "Norm", "Constant")


def zoo(n: int, weights: dict[str, float], noise: float = 0.05, seed: int = 0) -> tuple[np.ndarray, list[dict]]:
    """SAT (n, n) that falls by a weight for each component in which two models differ; and the components."""
    rng = np.random.default_rng(seed)
    components = [{name: str(rng.integers(3)) for name in NAMES[:3]} | {"Constant": "same"} for _ in range(n)]
    drawn = rng.normal(0, noise, (n, n))
    sat = 3.5 + (drawn + drawn.T) / 2
    for name, weight in weights.items():
        values = np.array([each[name] for each in components])
        sat -= weight * (values[:, None] != values)
    np.fill_diagonal(sat, np.nan)
    return sat, components


def test_the_components_that_scores_depend_on_come_first_in_their_order() -> None:
    sat, components = zoo(40, {"Base": 0.8, "Norm": 0.4})
    found = explain(sat, components)
    assert [each.component for each in found.components[:2]] == ["Base", "Norm"]
    by_name = {each.component: each for each in found.components}
    # SAT's variance is that of two Bernoulli terms, and permuting one doubles its share of the error
    assert by_name["Base"].importance == pytest.approx(2 * 0.8, abs=0.1)
    assert by_name["Norm"].importance == pytest.approx(2 * 0.2, abs=0.1)
    assert abs(by_name["Stem"].importance) < 0.02
    assert all(each.least <= each.importance <= each.most for each in found.components)
    assert (found.models, found.pairs) == (40, 780)
    assert 0.95 < found.r2_new_models <= found.r2_fit <= 1


def test_scores_that_depend_on_nothing_are_not_explained() -> None:
    sat, components = zoo(40, {}, noise=1.0)
    found = explain(sat, components)
    assert found.r2_new_models < 0.05
    assert all(abs(each.importance) < 0.1 for each in found.components)


def test_a_component_that_all_share_says_nothing() -> None:
    found = explain(*zoo(12, {"Base": 1.0}))
    constant = next(each for each in found.components if each.component == "Constant")
    assert (constant.varies, constant.importance) == (False, 0)
    assert sum(each.varies for each in found.components) == 3


def test_missing_pairs_are_left_out_and_the_same_seed_gives_the_same_answer() -> None:
    sat, components = zoo(20, {"Base": 1.0})
    sat[3, 5] = sat[5, 3] = np.nan
    found = explain(sat, components)
    assert found.pairs == 189
    assert found == explain(sat, components)


def test_what_cannot_be_explained_is_told() -> None:
    sat, components = zoo(7, {"Base": 1.0})
    with pytest.raises(NotComputableError, match="at least 8 models, and there are 7"):
        explain(sat, components)
    with pytest.raises(NotComputableError, match="equal or missing"):
        explain(np.full((9, 9), 2.0), zoo(9, {})[1])


def test_the_published_matrix_gives_the_published_order() -> None:
    if not REFERENCE.exists():
        pytest.skip("the published matrix is not here")
    rows = list(csv.reader((REFERENCE / "sat_matrix.csv").read_text().splitlines()))
    head, *features = csv.reader((REFERENCE / "model_features.csv").read_text().splitlines())
    of_model = {name: dict(zip(head[1:], values, strict=True)) for name, *values in features}
    sat = np.array([[float(value) for value in row[1:]] for row in rows[1:]])
    found = explain(sat, [of_model[name] for name in rows[0][1:]])
    assert [each.component for each in found.components[:2]] == ["Base architecture", "Stem layer"]
    assert found.r2_new_pairs == pytest.approx(0.66, abs=0.02)
    assert 0.5 < found.r2_new_models < found.r2_new_pairs
