"""The teacher rule: who is better on which side, who is guarded against, and what happens in tiny zoos."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from sat_engine.errors import NotComputableError
from sat_engine.teachers import EVIDENCE, Advice, Student, Teacher, side, suggest

VIT = Student(base="Transformer", id="student", accuracy=0.7)


def zoo(bases: list[str], seed: int = 0) -> tuple[list[Teacher], NDArray]:
    """Return a teacher for each base, and SAT (m, m) around 2.7."""
    draw = np.random.default_rng(seed)
    m = len(bases)
    noise = np.tril(draw.normal(0, 0.1, (m, m)), -1)
    sat = 2.7 + noise + noise.T
    teachers = [
        Teacher(
            id=f"model-{i:02d}",
            base=base,
            family=f"family-{i % 3}",
            accuracy=float(draw.uniform(0.79, 0.83)),
            sat=float(draw.uniform(2.0, 3.5)),
        )
        for i, base in enumerate(bases)
    ]
    return teachers, sat


def ids(advice: Advice) -> list[str]:
    return [each.teacher.id for each in advice.suggested]


def test_other_bases_are_ranked_least_similar_first_and_the_own_base_most_similar_first() -> None:
    teachers, sat = zoo(["CNN"] * 8 + ["Transformer"] * 6 + ["Hybrid"] * 3)
    advice = suggest(VIT, teachers, sat)
    other = [each.teacher.sat for each in advice.other_base]
    same = [each.teacher.sat for each in advice.same_base]
    assert other == sorted(other)
    assert same == sorted(same, reverse=True)
    assert (len(other), len(same)) == (11, 6)
    assert [each.rank for each in advice.other_base] == list(range(1, 12))


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 10_000), cnns=st.integers(1, 30), vits=st.integers(0, 10))
def test_suggestions_are_the_lower_quartile_of_other_bases_without_outliers_and_weak_models(
    seed: int, cnns: int, vits: int
) -> None:
    teachers, sat = zoo(["CNN"] * cnns + ["Transformer"] * vits, seed)
    sat[0] -= 1.0
    sat[:, 0] -= 1.0
    mean = np.where(np.eye(len(sat)), np.nan, sat)
    advice = suggest(VIT, teachers, sat)
    assert 1 <= len(advice.suggested) <= -(-cnns // 4)
    accuracies = [t.accuracy for t in teachers]
    qualified = [
        each for each in advice.other_base if (each.teacher.accuracy or 0) >= np.quantile(accuracies, 0.25) - 1e-12
    ]
    if len(sat) >= 12:
        # one model far below all others is more than 2 sd low from m = 6 on, whatever the noise of these draws
        row = np.nanmean(mean, axis=1)
        assert row[0] < row.mean() - 2 * row.std()
        qualified = [each for each in qualified if each.teacher.id != "model-00"]
        assert next(each for each in advice.other_base if each.teacher.id == "model-00").outlier
    if len(sat) >= 12 and qualified:
        assert ids(advice) == [each.teacher.id for each in qualified[: -(-len(qualified) // 4)]]
        assert not any("for want of others" in note for note in advice.notes)


@pytest.mark.parametrize("student", ["CNN", "Transformer"])
def test_the_order_of_models_changes_nothing(student: str) -> None:
    teachers, sat = zoo(["CNN", "Transformer", "Hybrid", "MLP-Mixer"] * 5, 3)
    teachers = [replace(t, sat=round(t.sat or 0, 1)) for t in teachers]
    straight = suggest(Student(base=student), teachers, sat)
    for seed in range(5):
        shuffle = np.random.default_rng(seed).permutation(20)
        shuffled = suggest(Student(base=student), [teachers[i] for i in shuffle], sat[np.ix_(shuffle, shuffle)])
        assert shuffled == straight


@pytest.mark.parametrize(
    ("base", "expected"),
    [
        ("CNN", "cnn"),
        ("NAS", "cnn"),
        ("NAS (CNN)", "cnn"),
        ("Transformer", "transformer"),
        ("NAS (TFM)", "transformer"),
        ("NAS-transformer", "transformer"),
        ("hybrid", "hybrid"),
        ("MLP-Mixer", "mlp-mixer"),
    ],
)
def test_searched_networks_stand_with_what_they_are_made_of(base: str, expected: str) -> None:
    assert side(base) == expected


def test_a_searched_transformer_is_of_a_vits_own_base_and_a_hybrid_is_not() -> None:
    teachers, sat = zoo(["NAS (TFM)", "Hybrid", "NAS (CNN)", "Transformer"])
    advice = suggest(VIT, teachers, sat)
    assert {each.teacher.base for each in advice.same_base} == {"NAS (TFM)", "Transformer"}
    assert {each.teacher.base for each in advice.other_base} == {"Hybrid", "NAS (CNN)"}


def test_a_weak_model_is_ranked_but_not_suggested_and_the_reason_says_why() -> None:
    teachers, sat = zoo(["CNN"] * 10)
    teachers[4] = replace(teachers[4], accuracy=0.75, sat=1.5)
    advice = suggest(VIT, teachers, sat)
    assert advice.other_base[0].teacher.id == "model-04"
    assert advice.other_base[0].weak
    assert "Weak: accuracy 75.0%" in advice.other_base[0].reason
    assert "model-04" not in ids(advice)


def test_reasons_say_what_was_not_measured_and_what_the_evidence_does_not_cover() -> None:
    teachers, sat = zoo(["CNN"] * 4)
    teachers[2] = replace(teachers[2], obtained="estimated", sat=2.345)
    advice = suggest(replace(VIT, accuracy=0.9), teachers, sat)
    reason = next(each.reason for each in advice.other_base if each.teacher.id == "model-02")
    assert "CNN, not Transformer" in reason
    assert "SAT 2.35 (estimated)" in reason or "SAT 2.34 (estimated)" in reason
    assert "Less accurate than the student (90.0%)" in reason


def test_two_models_of_another_base_are_enough() -> None:
    teachers, sat = zoo(["Transformer"] * 10 + ["CNN"] * 2, 1)
    teachers[10], teachers[11] = replace(teachers[10], sat=2.9, accuracy=0.83), replace(teachers[11], accuracy=0.83)
    advice = suggest(VIT, teachers, sat)
    assert ids(advice) == [min(teachers[10:], key=lambda t: t.sat or 0).id]
    assert any("Of another base 2 qualify" in note for note in advice.notes)


def test_weak_models_are_suggested_for_want_of_others_and_it_says_so() -> None:
    teachers, sat = zoo(["Transformer"] * 10 + ["CNN"] * 2, 1)
    teachers[10:] = [replace(t, accuracy=0.6) for t in teachers[10:]]
    advice = suggest(VIT, teachers, sat)
    assert [each.weak for each in advice.suggested] == [True]
    assert any("for want of others" in note for note in advice.notes)


def test_outliers_are_suggested_only_when_nothing_else_is_there() -> None:
    teachers, sat = zoo(["Transformer"] * 11 + ["CNN"], 1)
    sat[11] -= 2
    sat[:, 11] -= 2
    advice = suggest(VIT, teachers, sat)
    assert ids(advice) == ["model-11"]
    assert advice.suggested[0].outlier
    assert "An outlier: mean SAT" in advice.suggested[0].reason
    assert any("is an outlier" in note for note in advice.notes)


def test_without_another_base_the_most_similar_of_its_own_is_suggested() -> None:
    teachers, sat = zoo(["Transformer"] * 8, 2)
    advice = suggest(VIT, teachers, sat)
    sound = [each for each in advice.same_base if not each.weak]
    assert ids(advice) == [sound[0].teacher.id]
    assert any("No model of another base" in note for note in advice.notes)


def test_the_student_does_not_teach_itself_but_counts_in_the_zoo() -> None:
    teachers, sat = zoo(["CNN"] * 6, 2)
    student = Student(base="CNN", id="model-03")
    advice = suggest(student, teachers, sat)
    assert "model-03" not in [each.teacher.id for each in (*advice.same_base, *advice.other_base)]
    assert len(advice.same_base) == 5
    assert any("evidence is for a transformer student" in note for note in advice.notes)


def test_what_cannot_be_ranked_is_named() -> None:
    teachers, sat = zoo(["CNN"] * 6)
    teachers[0] = replace(teachers[0], sat=None)
    teachers[1] = replace(teachers[1], accuracy=None)
    teachers[2] = replace(teachers[2], base=None)
    sat[0] = sat[:, 0] = np.nan
    advice = suggest(VIT, teachers, sat)
    assert {entry.id: entry.reason for entry in advice.unranked} == {
        "model-00": "it has no score with the student yet",
        "model-01": "it is not evaluated yet",
        "model-02": "its base is not known",
    }
    with pytest.raises(NotComputableError, match="No model has a score with the student"):
        suggest(VIT, [replace(t, sat=None) for t in teachers], sat)
    with pytest.raises(NotComputableError, match="base is not known"):
        suggest(Student(base=""), teachers, sat)


def test_positive_flips_are_what_the_teacher_knows_and_the_student_does_not() -> None:
    teachers, sat = zoo(["CNN"] * 2)
    student = np.array([True, False, False, True])
    bits = {"model-00": np.array([True, True, True, False])}
    advice = suggest(VIT, teachers, sat, student_correct=student, correct=bits)
    assert {each.teacher.id: each.positive_flips for each in advice.other_base} == {"model-00": 2, "model-01": None}


def test_the_evidence_travels_with_the_advice() -> None:
    teachers, sat = zoo(["CNN"])
    advice = suggest(VIT, teachers, sat)
    assert advice.evidence == EVIDENCE
    assert all(figure in EVIDENCE for figure in ("-0.32", "0.12", "0.70", "0.078", "-0.51", "0.030"))


def test_malformed_input_is_refused() -> None:
    teachers, sat = zoo(["CNN"] * 3)
    with pytest.raises(ValueError, match="shape"):
        suggest(VIT, teachers, sat[:2])
