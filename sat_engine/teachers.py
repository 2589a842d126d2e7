"""Which model a student should learn from: the paper's rule (section 5.2), with guards against its literal reading.

Teachers of the student's base are better the more similar they are, teachers of another base the less similar; the
best distillations came from the latter. Taken literally that names one outlier for nearly every student, so outliers
and weak models are not suggested, and the whole lower quartile is, not its first alone.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from math import ceil

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sat_engine.ensemble_pool import LeftOut
from sat_engine.errors import NotComputableError

__all__ = ["EVIDENCE", "Advice", "LeftOut", "RankedTeacher", "Relation", "Student", "Teacher", "side", "suggest"]

OUTLIER_SD = 2.0  # standard deviations below the zoo's mean of mean SAT
QUARTILE = 0.25
EVIDENCE = (
    "25 teachers and one student (ViT-Ti), by Pearson correlation of SAT with the student's accuracy: all teachers "
    "r = -0.32 (p = 0.12), teachers of the student's base r = 0.70 (p = 0.078), others r = -0.51 (p = 0.030). The "
    "teachers' accuracy was uncorrelated. Other students are extrapolation."
)


class Relation(StrEnum):
    """Where a teacher stands to the student."""

    SAME_BASE = "same base"  # more similar is better
    OTHER_BASE = "other base"  # less similar is better


@dataclass(frozen=True, kw_only=True, slots=True)
class Student:
    """A model, or an architecture that is still to be trained (then without id and accuracy)."""

    base: str
    id: str | None = None
    accuracy: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Teacher:
    """A model that could teach."""

    id: str
    base: str | None
    family: str | None
    accuracy: float | None  # top-1 in [0, 1] on the select part
    sat: float | None  # with the student; None where there is no score yet
    obtained: str = "measured"  # how that score was obtained
    parameters: int | None = None
    macs: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class RankedTeacher:
    """A teacher with its place among those of its relation, and why."""

    rank: int  # from 1
    teacher: Teacher
    relation: Relation
    suggested: bool
    outlier: bool  # mean SAT to all more than 2 sd low
    weak: bool  # accuracy below the zoo's lower quartile
    positive_flips: int | None  # images that it gets right and the student wrong
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Advice:
    """Suggested teachers, best first, and everything that was ranked."""

    suggested: tuple[RankedTeacher, ...]
    other_base: tuple[RankedTeacher, ...]  # least similar first
    same_base: tuple[RankedTeacher, ...]  # most similar first
    unranked: tuple[LeftOut, ...]
    notes: tuple[str, ...]  # where the rule could not be followed, and what was done instead
    evidence: str


def side(base: str) -> str:
    """Return the base that counts for the rule: networks found by architecture search stand with what they are made of.

    On the published matrix searched CNNs have a mean SAT of 2.82 with CNNs and 2.48 with transformers, the searched
    transformer 2.31 and 2.70. Hybrids are a base of their own: 2.58 with CNNs, 2.53 with transformers, 2.77 among
    themselves.
    """
    name = base.casefold()
    if "nas" in name:
        return "transformer" if "tfm" in name or "transformer" in name else "cnn"
    return name


def suggest(
    student: Student,
    teachers: Sequence[Teacher],
    sat: ArrayLike,
    *,
    student_correct: NDArray[np.bool_] | None = None,
    correct: Mapping[str, NDArray[np.bool_]] | None = None,
) -> Advice:
    """Return teachers for the student among these, whose SAT with one another is (m, m), NaN where missing.

    The zoo's quartile and mean SAT are taken over all `teachers`; the student may be among them and is not ranked.
    With the bits of the student and of teachers (by id) on the same images, positive flips are counted. Equal scores
    go to the more accurate, then to the smaller id; the order of teachers changes nothing.

    Raises NotComputableError when no teacher can be ranked, with the reason.
    """
    order = sorted(range(len(teachers)), key=lambda i: teachers[i].id)
    matrix = np.asarray(sat, dtype=np.float64)
    if matrix.shape != (len(teachers), len(teachers)):
        raise ValueError(f"{len(teachers)} teachers, but SAT has the shape {matrix.shape}")
    if not side(student.base):
        raise NotComputableError("The student's base is not known, so no teacher can be told to be of another.")
    zoo = [teachers[i] for i in order]
    guards = _Guards(zoo, matrix[np.ix_(order, order)])
    refused = {t.id: reason for t in zoo if t.id != student.id and (reason := _not_rankable(t))}
    rankable = [t for t in zoo if t.id != student.id and t.id not in refused]
    if not rankable:
        raise NotComputableError("No model has a score with the student yet: wait until its pairs are measured.")
    same = _by_similarity([t for t in rankable if side(t.base or "") == side(student.base)], most_similar_first=True)
    other = _by_similarity([t for t in rankable if side(t.base or "") != side(student.base)], most_similar_first=False)
    chosen, notes = _chosen(other, same, guards)
    if side(student.base) != "transformer":
        notes.append(f"The evidence is for a transformer student; this one is {student.base}.")
    flips = {} if correct is None or student_correct is None else _flips(student_correct, correct)
    other_base = _ranked(other, student, Relation.OTHER_BASE, guards, chosen, flips)
    same_base = _ranked(same, student, Relation.SAME_BASE, guards, chosen, flips)
    return Advice(
        suggested=tuple(each for each in (*other_base, *same_base) if each.suggested),
        other_base=other_base,
        same_base=same_base,
        unranked=tuple(LeftOut(id=name, reason=reason) for name, reason in refused.items()),
        notes=tuple(notes),
        evidence=EVIDENCE,
    )


class _Guards:
    """Who is an outlier and who is weak, over the whole zoo."""

    def __init__(self, zoo: Sequence[Teacher], sat: NDArray[np.float64]) -> None:
        known = ~np.isnan(sat) & ~np.eye(len(zoo), dtype=bool)
        counts = known.sum(axis=1)
        sums = np.where(known, sat, 0.0).sum(axis=1)
        self.mean_sat = {t.id: float(s / n) for t, s, n in zip(zoo, sums, counts, strict=True) if n}
        means = np.array(list(self.mean_sat.values()) or [0.0])
        self.centre, self.spread = float(means.mean()), float(means.std())
        lowest = self.centre - OUTLIER_SD * self.spread
        self.outliers = {i for i, mean in self.mean_sat.items() if mean < lowest - 1e-12}
        # the largest deviation that one of m values can have is (m - 1) / sqrt(m) standard deviations
        self.can_find_outliers = len(self.mean_sat) > 0 and (len(means) - 1) / len(means) ** 0.5 > OUTLIER_SD
        accuracies = [t.accuracy for t in zoo if t.accuracy is not None]
        self.least_accuracy = float(np.quantile(accuracies, QUARTILE)) if accuracies else 0.0
        self.weak = {t.id for t in zoo if t.accuracy is not None and t.accuracy < self.least_accuracy - 1e-12}


def _not_rankable(teacher: Teacher) -> str | None:
    if teacher.sat is None or np.isnan(teacher.sat):
        return "it has no score with the student yet"
    if teacher.accuracy is None:
        return "it is not evaluated yet"
    return None if teacher.base else "its base is not known"


def _by_similarity(teachers: Sequence[Teacher], *, most_similar_first: bool) -> list[Teacher]:
    sign = -1 if most_similar_first else 1
    return sorted(teachers, key=lambda t: (sign * (t.sat or 0.0), -(t.accuracy or 0.0), t.id))


def _chosen(other: Sequence[Teacher], same: Sequence[Teacher], guards: _Guards) -> tuple[set[str], list[str]]:
    """Return the ids to suggest, and what to say where the rule's pool is empty or too small."""
    notes = []
    if not guards.can_find_outliers:
        notes.append("Too few models to tell an outlier: none of so few can be 2 standard deviations low.")
    if not other:
        notes.append(
            "No model of another base has a score with the student, so the most similar one of its own base is "
            "suggested, on weaker evidence."
        )
        sound = [t for t in same if t.id not in guards.weak]
        return {(sound or same)[0].id}, notes
    strong = [t for t in other if t.id not in guards.outliers | guards.weak]
    if not strong and (strong := [t for t in other if t.id not in guards.outliers]):
        notes.append("Every model of another base is weak or an outlier; weak ones are suggested for want of others.")
    elif not strong:
        strong = list(other)
        notes.append("Every model of another base is an outlier; they are suggested for want of others.")
    if len(strong) < 1 / QUARTILE:
        notes.append(f"Of another base {len(strong)} qualify, too few for a quartile: the least similar is suggested.")
    # the quartile is that of the models that qualify, so that guards cannot empty it
    return {t.id for t in strong[: ceil(len(strong) * QUARTILE)]}, notes


def _ranked(  # noqa: PLR0917 - what was found out on the way, each used by one field
    teachers: Sequence[Teacher],
    student: Student,
    relation: Relation,
    guards: _Guards,
    chosen: Collection[str],
    flips: Mapping[str, int],
) -> tuple[RankedTeacher, ...]:
    return tuple(
        RankedTeacher(
            rank=rank,
            teacher=teacher,
            relation=relation,
            suggested=teacher.id in chosen,
            outlier=teacher.id in guards.outliers,
            weak=teacher.id in guards.weak,
            positive_flips=flips.get(teacher.id),
            reason=_reason(teacher, student, relation, guards, suggested=teacher.id in chosen),
        )
        for rank, teacher in enumerate(teachers, start=1)
    )


def _reason(teacher: Teacher, student: Student, relation: Relation, guards: _Guards, *, suggested: bool) -> str:
    """Return one or more sentences that say where the teacher stands and why."""
    score = f"SAT {teacher.sat:.2f}" + ("" if teacher.obtained == "measured" else f" ({teacher.obtained})")
    if relation is Relation.OTHER_BASE:
        parts = [f"{teacher.base}, not {student.base}: the less similar the better; {score}."]
        if suggested:
            parts.append("Among the least similar quarter of the models that qualify.")
    else:
        parts = [f"{teacher.base} like the student: the more similar the better; {score}."]
    if teacher.id in guards.outliers:
        parts.append(
            f"An outlier: mean SAT {guards.mean_sat[teacher.id]:.2f}, the zoo's is {guards.centre:.2f} with a "
            f"standard deviation of {guards.spread:.2f}."
        )
    accuracy = teacher.accuracy or 0.0
    if teacher.id in guards.weak:
        parts.append(f"Weak: accuracy {accuracy:.1%}, the zoo's lower quartile is {guards.least_accuracy:.1%}.")
    if student.accuracy is not None and accuracy < student.accuracy:
        parts.append(f"Less accurate than the student ({student.accuracy:.1%}), which the evidence does not cover.")
    return " ".join(parts)


def _flips(student_correct: NDArray[np.bool_], correct: Mapping[str, NDArray[np.bool_]]) -> dict[str, int]:
    return {name: int(np.count_nonzero(bits & ~student_correct)) for name, bits in correct.items()}
