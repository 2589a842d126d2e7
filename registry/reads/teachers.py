"""Which model a student should learn from, out of a snapshot."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import chain, zip_longest

import numpy as np
from numpy.typing import NDArray

from registry.errors import NotFoundError, NotReadyError
from registry.reads.ensembles import eligible
from registry.reads.scores import Neighbour, neighbours
from registry.reads.similar import require_not_failed
from registry.reads.snapshot import Snapshot
from registry.reads.solo import Share
from registry.reads.stand_ins import Untrained, stand_in_for
from registry.reads.zoo import Model, Network
from registry.tables import ModelState
from sat_engine import bits, catalogue
from sat_engine.errors import NotComputableError
from sat_engine.teachers import Advice, LeftOut, RankedTeacher, Relation, Student, Teacher, suggest

Bools = NDArray[np.bool_]
Pool = list[tuple[Model, Network]]
RULE = (
    "Teachers of another base: the less similar the better, from the lower quartile of SAT, without outliers and weak "
    "models. Teachers of the student's base: the more similar the better."
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Suggestion:
    """One teacher with its score with the student. positive_flips: it is right and the student wrong."""

    model: Model
    network: Network
    score: Neighbour
    accuracy: float
    same_base: bool
    positive_flips: Share | None
    reason: str
    suggested: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class TeacherAdvice:
    """Up to k teachers: those that the rule suggests, then the best of other bases and of the same, in turn.

    student: the name of a model, or of an architecture; estimated_from: the models that stand for the latter.
    """

    student: str
    estimated_from: tuple[str, ...] = ()
    items: tuple[Suggestion, ...]
    left_out: tuple[LeftOut, ...]
    evidence: str
    warnings: tuple[str, ...]
    rule: str = RULE


def advise_teacher(snapshot: Snapshot, reference: str, *, k: int) -> TeacherAdvice:
    """Rank teachers for the student, a model or else an architecture of the catalogue.

    NotReadyError while no score with it is measured, InvalidError where an architecture's cannot be estimated.
    """
    try:
        student = snapshot.find(reference)
    except NotFoundError:
        if reference not in catalogue.names():
            raise
        return _advise_untrained(snapshot, stand_in_for(snapshot, catalogue.find(reference)), k=k)
    require_not_failed(student)
    if snapshot.row(student) is None or student.network is None:
        raise NotReadyError(f"{student.name} is still being prepared: GET /models/{student.name} shows its progress.")
    pool, left_out = eligible(snapshot, {student.name})
    scores = {each.model: each for each in neighbours(snapshot, student, [model for model, _ in pool])}
    accuracy = snapshot.solo(student).accuracy
    student_correct, correct = _correct_bits(snapshot, student.network, pool)
    try:
        advice = suggest(
            Student(base=student.network.base or "", id=student.name, accuracy=accuracy.rate if accuracy else None),
            [_teacher(snapshot, model, network, scores.get(model.name)) for model, network in pool],
            _sat_of(snapshot, pool),
            student_correct=student_correct,
            correct=correct,
        )
    except NotComputableError as error:
        raise NotReadyError(str(error)) from error
    return TeacherAdvice(
        student=student.name,
        items=_suggestions(snapshot, advice, pool, scores, k),
        left_out=_left_out(left_out, advice),
        evidence=advice.evidence,
        warnings=(*_concerns(student), *advice.notes),
    )


def _advise_untrained(snapshot: Snapshot, student: Untrained, *, k: int) -> TeacherAdvice:
    pool, left_out = eligible(snapshot, ())
    estimates = {model.name: student.score(snapshot, model) for model, _ in pool}
    scores = {name: each for name, each in estimates.items() if each is not None}
    try:
        advice = suggest(
            Student(base=student.base),
            [_teacher(snapshot, model, network, scores.get(model.name)) for model, network in pool],
            _sat_of(snapshot, pool),
        )
    except NotComputableError as error:
        raise NotReadyError(str(error)) from error
    return TeacherAdvice(
        student=student.architecture,
        estimated_from=tuple(model.name for model, _ in student.stand_ins),
        items=_suggestions(snapshot, advice, pool, scores, k),
        left_out=_left_out(left_out, advice),
        evidence=advice.evidence,
        warnings=(student.note, *advice.notes),
    )


def _sat_of(snapshot: Snapshot, pool: Pool) -> NDArray[np.float64]:
    rows = np.array([snapshot.position[network.id] for _, network in pool], dtype=np.int64)
    sat: NDArray[np.float64] = snapshot.cells.sat[np.ix_(rows, rows)]
    return sat


def _left_out(before: list[LeftOut], advice: Advice) -> tuple[LeftOut, ...]:
    return tuple(sorted([*before, *advice.unranked], key=lambda each: each.id))


def _suggestions(
    snapshot: Snapshot, advice: Advice, pool: Pool, scores: Mapping[str, Neighbour], k: int
) -> tuple[Suggestion, ...]:
    by_name = {model.name: (model, network) for model, network in pool}
    return tuple(
        _suggestion(snapshot, each, *by_name[each.teacher.id], scores[each.teacher.id]) for each in _in_turn(advice)[:k]
    )


def _teacher(snapshot: Snapshot, model: Model, network: Network, score: Neighbour | None) -> Teacher:
    accuracy = snapshot.solo(model).accuracy
    return Teacher(
        id=model.name,
        base=network.base,
        family=network.family,
        accuracy=accuracy.rate if accuracy else None,
        sat=score.sat if score else None,
        obtained=score.obtained if score else "measured",
        parameters=network.parameters,
        macs=network.macs,
    )


def _correct_bits(snapshot: Snapshot, student: Network, pool: Pool) -> tuple[Bools | None, dict[str, Bools]]:
    """Who is right on which image of the select part, as far as it is known."""
    packed, n = snapshot.measures.select_bits, snapshot.comparison.n_select
    if student.id not in packed:
        return None, {}
    known = {model.name: bits.unpack(packed[network.id], n) for model, network in pool if network.id in packed}
    return bits.unpack(packed[student.id], n), known


def _in_turn(advice: Advice) -> list[RankedTeacher]:
    rest = ([each for each in ranked if not each.suggested] for ranked in (advice.other_base, advice.same_base))
    return [*advice.suggested, *(each for each in chain(*zip_longest(*rest)) if each is not None)]


def _suggestion(
    snapshot: Snapshot, ranked: RankedTeacher, model: Model, network: Network, score: Neighbour
) -> Suggestion:
    flips = ranked.positive_flips
    return Suggestion(
        model=model,
        network=network,
        score=score,
        accuracy=ranked.teacher.accuracy or 0.0,
        same_base=ranked.relation is Relation.SAME_BASE,
        positive_flips=None if flips is None else Share(flips, snapshot.comparison.n_select),
        reason=ranked.reason,
        suggested=ranked.suggested,
    )


def _concerns(student: Model) -> list[str]:
    if student.state is not ModelState.SUSPECT:
        return []
    return [f"{student.name} is suspect, so its scores may mean nothing: {student.concern}"]
