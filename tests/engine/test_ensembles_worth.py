"""Laws of judging ensembles and of the baselines, against slow and obvious versions."""

import inspect
import time
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from sat_engine.ensemble_worth import (
    ROWS,
    Baselines,
    Combine,
    Logits,
    choose_baselines,
    compare,
    forward_selection,
    judge,
    random_members,
)
from sat_engine.errors import NotComputableError


def members(m: int, n: int, classes: int = 4, seed: int = 0, scale: float = 1.0) -> tuple[list[Logits], NDArray]:
    """Return logits of m members that are right more often than not, and labels (n,)."""
    draw = np.random.default_rng(seed)
    labels = draw.integers(0, classes, n)
    signal = 1.2 * np.eye(classes)[labels]
    return [(scale * (signal + draw.normal(0, 1, (n, classes)))).astype(np.float32) for _ in range(m)], labels


def softmax(logits: NDArray) -> NDArray:
    raised = np.exp(logits.astype(np.float64))
    return raised / raised.sum(axis=1, keepdims=True)


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10_000), m=st.integers(1, 5), n=st.integers(1, 2 * ROWS + 3), combine=st.sampled_from(Combine)
)
def test_judging_equals_the_definition(seed: int, m: int, n: int, combine: Combine) -> None:
    logits, labels = members(m, n, seed=seed)
    worth = judge(logits, labels, combine=combine)
    voices = [softmax(member) if combine is Combine.PROBABILITIES else member for member in logits]
    error = (np.mean(voices, axis=0).argmax(axis=1) != labels).mean()
    wrong = np.array([member.argmax(axis=1) != labels for member in logits])
    assert worth.top1 == pytest.approx(1 - error)
    assert worth.member_top1 == pytest.approx(tuple(1 - wrong.mean(axis=1)))
    assert worth.all_wrong == pytest.approx(wrong.all(axis=0).mean())
    assert worth.error_reduction_rate == pytest.approx(1 - error / wrong.mean() if wrong.any() else 0)
    assert worth.interval[0] <= worth.top1 <= worth.interval[1]
    assert worth.n == n


def test_one_member_reduces_nothing() -> None:
    logits, labels = members(1, 200)
    worth = judge(logits, labels)
    assert worth.error_reduction_rate == 0
    assert worth.top1 == worth.member_top1[0]
    assert worth.all_wrong == pytest.approx(1 - worth.top1)


def test_members_without_errors_have_a_defined_rate() -> None:
    _, labels = members(1, 50)
    perfect = np.eye(4, dtype=np.float32)[labels]
    worth = judge([perfect, perfect], labels)
    assert (worth.top1, worth.error_reduction_rate, worth.all_wrong) == (1, 0, 0)
    assert worth.interval[1] == 1


def test_the_order_of_members_and_images_changes_nothing() -> None:
    logits, labels = members(4, 300)
    # eighths add up exactly in any order
    logits = [np.round(member * 8) / 8 for member in logits]
    shuffle = np.random.default_rng(1).permutation(300)
    straight = judge(logits, labels)
    turned = judge([member[shuffle] for member in logits[::-1]], labels[shuffle])
    assert turned.top1 == straight.top1
    assert turned.member_top1 == straight.member_top1[::-1]


def test_a_loud_member_rules_the_logits_but_not_the_probabilities() -> None:
    quiet, labels = members(4, 2000, seed=3)
    loud = 100 * np.random.default_rng(4).normal(0, 1, (2000, 4)).astype(np.float32)
    by_logits = judge([*quiet, loud], labels)
    by_probabilities = judge([*quiet, loud], labels, combine=Combine.PROBABILITIES)
    assert by_logits.top1 == pytest.approx(0.25, abs=0.05)
    assert by_probabilities.top1 > by_logits.top1 + 0.2


def test_large_logits_do_not_overflow() -> None:
    logits, labels = members(2, 30, scale=1e4)
    assert 0 <= judge(logits, labels, combine=Combine.PROBABILITIES).top1 <= 1


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10_000), combine=st.sampled_from(Combine))
def test_forward_selection_equals_the_slow_version(seed: int, combine: Combine) -> None:
    logits, labels = members(7, 90, seed=seed)
    chosen: list[int] = []
    for _ in range(4):
        rest = [i for i in range(7) if i not in chosen]
        scores = [judge([logits[j] for j in [*chosen, i]], labels, combine=combine).top1 for i in rest]
        chosen.append(rest[int(np.argmax(scores))])
    assert forward_selection(logits, labels, 4, combine=combine) == tuple(chosen)


def test_random_members_are_all_where_few_and_different_where_many() -> None:
    assert random_members(5, 3) == tuple(combinations(range(5), 3))
    drawn = random_members(40, 5, draws=25, seed=2)
    assert len(set(drawn)) == 25
    assert all(len(set(one)) == 5 for one in drawn)
    assert drawn == random_members(40, 5, draws=25, seed=2)
    assert drawn != random_members(40, 5, draws=25, seed=3)


def test_baselines_are_chosen_on_the_select_part_and_compared_on_the_report_part() -> None:
    select, select_labels = members(60, 200, seed=1)
    report, report_labels = members(60, 300, seed=2)
    accuracy = np.array([judge([member], select_labels).top1 for member in select])
    asked: list[int] = []

    def select_logits(i: int) -> Logits:
        asked.append(i)
        return select[i]

    baselines = choose_baselines(3, accuracy, select_logits, select_labels)
    assert baselines.best_single == int(accuracy.argmax())
    assert set(accuracy[list(baselines.most_accurate)]) <= set(np.sort(accuracy)[-3:])
    assert len(asked) == 50
    assert min(accuracy[asked]) >= np.sort(accuracy)[10]
    assert set(baselines.forward) <= set(asked)

    found = compare([4, 9, 14], baselines, report.__getitem__, report_labels)
    assert found.ensemble == judge([report[i] for i in (4, 9, 14)], report_labels)
    assert found.best_single == judge([report[baselines.best_single]], report_labels)
    assert found.most_accurate == judge([report[i] for i in baselines.most_accurate], report_labels)
    assert found.forward == judge([report[i] for i in baselines.forward], report_labels)
    drawn = [judge([report[i] for i in one], report_labels).top1 for one in baselines.random]
    assert found.random.draws == 30
    assert found.random.top1_mean == pytest.approx(np.mean(drawn))
    assert found.random.top1_sd == pytest.approx(np.std(drawn))


def test_choosing_cannot_read_the_report_part() -> None:
    for choosing in (choose_baselines, forward_selection, random_members):
        assert not any("report" in name for name in inspect.signature(choosing).parameters)


def test_a_zoo_as_small_as_the_ensemble() -> None:
    logits, labels = members(3, 50)
    baselines = choose_baselines(3, [0.5, 0.7, 0.6], logits.__getitem__, labels)
    assert isinstance(baselines, Baselines)
    assert baselines.random == ((0, 1, 2),)
    assert sorted(baselines.forward) == [0, 1, 2]
    assert compare([0, 1, 2], baselines, logits.__getitem__, labels).random.top1_sd == 0


def test_malformed_input_is_refused() -> None:
    logits, labels = members(2, 10)
    with pytest.raises(NotComputableError, match="no images"):
        judge([member[:0] for member in logits], [])
    with pytest.raises(ValueError, match="9 labels"):
        judge(logits, labels[:9])
    with pytest.raises(ValueError, match="needs members"):
        judge([], labels)


def test_five_models_on_five_thousand_images_and_a_thousand_classes_take_a_fifth_of_a_second() -> None:
    draw = np.random.default_rng(0)
    logits = [draw.standard_normal((5000, 1000), dtype=np.float32) for _ in range(5)]
    labels = draw.integers(0, 1000, 5000)
    times = []
    for _ in range(3):
        start = time.process_time()
        judge(logits, labels)
        times.append(time.process_time() - start)
    assert min(times) < 0.2
