"""The demo's check of the paper's Table 2, and what it prints."""

import math

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from rich.console import Console

from client.shapes import Matrix
from client.tables.similarity import matrix_tables
from examples.digits.report import check_seeds

KINDS = {"cnn-1": "cnn", "cnn-2": "cnn", "vit-1": "vit", "vit-2": "vit", "mlp": "mlp"}
FAMILIES: dict[str, str | None] = {"cnn-1": "cnn", "cnn-2": "cnn", "vit-1": "vit", "vit-2": "vit", "mlp": "mlp"}


def matrix_of(names: list[str], scores: dict[frozenset[str], float]) -> Matrix:
    """Return the matrix with these scores, and nothing measured elsewhere."""
    sat = [[scores.get(frozenset((a, b))) for b in names] for a in names]
    obtained = [["measured" if cell is not None else None for cell in row] for row in sat]
    return Matrix(comparison="digits/pgd", version=1, models=names, missing=0, sat=sat, obtained=obtained)


SCORES = {
    frozenset(("cnn-1", "cnn-2")): 4.0,
    frozenset(("vit-1", "vit-2")): 3.0,
    frozenset(("cnn-1", "vit-1")): 1.0,
    frozenset(("cnn-2", "mlp")): 2.0,
    frozenset(("stranger", "cnn-1")): 4.6,
    frozenset(("mlp",)): 4.6,  # the diagonal is no pair
}


@given(st.permutations([*KINDS, "stranger"]))
def test_the_check_counts_every_pair_once_whatever_the_order(names: list[str]) -> None:
    check = check_seeds(matrix_of(names, SCORES), KINDS, FAMILIES)
    assert check is not None
    assert sorted(sat for _, _, sat in check.twins) == [3.0, 4.0]
    assert sorted(check.strangers) == [1.0, 2.0]
    assert (check.twin_mean, check.stranger_mean, check.holds) == (3.5, 1.5, True)


@given(st.floats(-4.6, 4.6))
def test_it_holds_when_the_twins_mean_is_above_the_strangers_and_exceptions_are_named(sat: float) -> None:
    assume(not math.isclose(sat, -1.0))
    scores = SCORES | {frozenset(("vit-1", "vit-2")): sat}
    check = check_seeds(matrix_of(list(KINDS), scores), KINDS, FAMILIES)
    assert check is not None
    assert check.holds == ((4.0 + sat) / 2 > 1.5)
    assert check.exceptions == (("vit-1 and vit-2",) if sat <= 1.5 else ())


def test_without_measured_pairs_there_is_no_check() -> None:
    assert check_seeds(matrix_of(list(KINDS), {}), KINDS, FAMILIES) is None


def test_a_model_without_a_family_is_nobodys_stranger() -> None:
    check = check_seeds(matrix_of(list(KINDS), SCORES), KINDS, FAMILIES | {"mlp": None})
    assert check is not None
    assert check.strangers == (1.0,)


@pytest.mark.parametrize("n", [1, 12, 40])
def test_the_matrix_fits_120_columns_and_shows_every_score_once(n: int) -> None:
    names = [f"a-network-with-a-name-{number}" for number in range(n)]
    scores = {frozenset((a, b)): 0.01 * (i + j) for i, a in enumerate(names) for j, b in enumerate(names)}
    console = Console(width=120)
    with console.capture() as captured:
        for table in matrix_tables(matrix_of(names, scores), 120):
            console.print(table)
    lines = captured.get().splitlines()
    assert max(len(line.rstrip()) for line in lines) <= 120
    shown = " ".join(lines).split()
    assert sum(word.count(".") for word in shown) == n * n
    if n <= 12:  # the demo's zoo: all in one table
        assert len(list(matrix_tables(matrix_of(names, scores), 120))) == 1
