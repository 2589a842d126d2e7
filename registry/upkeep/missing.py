"""Measurements that are missing and that no job is going to do: each kind by one query over a whole comparison.

Whatever finishes asks for what follows it, so there should be none. The doctor tells of them, and workers ask for them
when nothing else is going on.
"""

from dataclasses import dataclass

from sqlalchemy import ARRAY, CTE, ColumnElement, Integer, and_, any_, exists, func, literal, select
from sqlalchemy.dialects.postgresql import array
from sqlalchemy.orm import InstrumentedAttribute, Session, aliased

from registry.comparisons import LIVE_STATES
from registry.image_sets import rungs_of
from registry.pending import has_cell
from registry.tables import (
    AttackRow,
    ComparisonRow,
    ComparisonState,
    EvaluationRow,
    ImageSetRow,
    JobKind,
    JobRow,
    JobState,
    Lane,
    ModelRow,
    NetworkRow,
    PairRow,
    Part,
    RefusalRow,
    TransferRow,
)
from registry.wanting import want


@dataclass(frozen=True, slots=True)
class Missing:
    """Networks of a comparison whose evaluations, attacks, or transfers onto them are missing, by id."""

    comparison_id: int
    kind: JobKind
    networks: list[int]


def find_missing(session: Session, *, at_rest: bool = False) -> list[Missing]:
    """What is missing in the comparisons that measure, where no such job is queued, runs or has failed.

    at_rest: only in those comparisons in which nothing is queued or runs.
    """
    measuring = (
        select(ComparisonRow, ImageSetRow)
        .join(ImageSetRow, ImageSetRow.id == ComparisonRow.image_set_id)
        .where(ComparisonRow.state == ComparisonState.MEASURING)
        .order_by(ComparisonRow.id)
    )
    if at_rest:
        measuring = measuring.where(~_is_busy())
    return [
        Missing(comparison.id, kind, networks)
        for comparison, image_set in session.execute(measuring)
        for kind, networks in (
            (JobKind.EVALUATE, _without_evaluations(session, comparison, image_set)),
            (JobKind.ATTACK, _without_attacks(session, comparison)),
            (JobKind.TRANSFERS, _without_transfers(session, comparison, image_set)),
        )
        if networks
    ]


def want_missing(session: Session) -> list[Missing]:
    """Ask for what is missing in the comparisons in which nothing is queued or runs; return it."""
    missing = find_missing(session, at_rest=True)
    for each in missing:
        for network_id in each.networks:
            want(session, each.kind, network_id=network_id, comparison_id=each.comparison_id)
    return missing


def _is_busy() -> ColumnElement[bool]:
    """SQL: something of the comparison is queued or runs."""
    return exists().where(
        JobRow.comparison_id == ComparisonRow.id,
        JobRow.lane == Lane.COMPUTE,
        JobRow.state.in_((JobState.QUEUED, JobState.RUNNING)),
    )


def _live() -> CTE:
    """SQL: each network that is measured, and the last rung that one of its models is measured to."""
    return (
        select(ModelRow.network_id.label("id"), func.max(ModelRow.last_rung).label("last_rung"))
        .where(ModelRow.deleted_at.is_(None), ModelRow.state.in_(LIVE_STATES), ModelRow.network_id.is_not(None))
        .group_by(ModelRow.network_id)
        .cte("live")
    )


def _is_idle(
    network: ColumnElement[int] | InstrumentedAttribute[int], kind: JobKind, comparison: ComparisonRow
) -> ColumnElement[bool]:
    return ~exists().where(
        JobRow.kind == kind,
        JobRow.comparison_id == comparison.id,
        JobRow.network_id == network,
        JobRow.state != JobState.IDLE,
    )


def _without_evaluations(session: Session, comparison: ComparisonRow, image_set: ImageSetRow) -> list[int]:
    live = _live()
    wanted = [
        *((Part.ATTACK, rung) for rung in rungs_of(image_set)),
        *([(Part.SELECT, 0)] if image_set.n_select else []),
        *([(Part.REPORT, 0)] if image_set.n_report else []),
    ]
    found: set[int] = set()
    for part, rung in wanted:
        evaluated = exists().where(
            EvaluationRow.network_id == NetworkRow.id,
            EvaluationRow.image_set_id == image_set.id,
            EvaluationRow.part == part,
            EvaluationRow.rung == rung,
        )
        found.update(
            session.scalars(
                select(NetworkRow.id)
                .join(live, live.c.id == NetworkRow.id)
                .where(
                    NetworkRow.task_id == image_set.task_id,
                    live.c.last_rung >= rung,
                    ~evaluated,
                    _is_idle(NetworkRow.id, JobKind.EVALUATE, comparison),
                )
            )
        )
    return sorted(found)


def _without_attacks(session: Session, comparison: ComparisonRow) -> list[int]:
    live = _live()
    attacked = exists().where(
        AttackRow.comparison_id == comparison.id,
        AttackRow.network_id == EvaluationRow.network_id,
        AttackRow.rung == EvaluationRow.rung,
    )
    return list(
        session.scalars(
            select(EvaluationRow.network_id)
            .join(live, and_(live.c.id == EvaluationRow.network_id, live.c.last_rung >= EvaluationRow.rung))
            .where(
                EvaluationRow.image_set_id == comparison.image_set_id,
                EvaluationRow.part == Part.ATTACK,
                ~attacked,
                _is_idle(EvaluationRow.network_id, JobKind.ATTACK, comparison),
            )
            .distinct()
            .order_by(EvaluationRow.network_id)
        )
    )


def _without_transfers(session: Session, comparison: ComparisonRow, image_set: ImageSetRow) -> list[int]:
    """As `pending_cells` for every target at once."""
    suspects = _in_unfinished_pairs(session, comparison, image_set)
    live = _live()
    sources, targets = live.alias("sources"), live.alias("targets")
    before = aliased(TransferRow)
    return list(
        session.scalars(
            select(EvaluationRow.network_id)
            .join(targets, and_(targets.c.id == EvaluationRow.network_id, targets.c.last_rung >= EvaluationRow.rung))
            .join(
                AttackRow, and_(AttackRow.rung == EvaluationRow.rung, AttackRow.network_id != EvaluationRow.network_id)
            )
            .join(sources, and_(sources.c.id == AttackRow.network_id, sources.c.last_rung >= AttackRow.rung))
            .where(
                EvaluationRow.network_id == any_(literal(suspects, ARRAY(Integer))),
                EvaluationRow.image_set_id == comparison.image_set_id,
                EvaluationRow.part == Part.ATTACK,
                AttackRow.comparison_id == comparison.id,
                ~has_cell(TransferRow, EvaluationRow.network_id, comparison.id),
                ~has_cell(RefusalRow, EvaluationRow.network_id, comparison.id),
                (AttackRow.rung == 0)
                | exists().where(
                    before.comparison_id == comparison.id,
                    before.target_id == EvaluationRow.network_id,
                    before.source_id == AttackRow.network_id,
                    before.rung == 0,
                ),
                _is_idle(EvaluationRow.network_id, JobKind.TRANSFERS, comparison),
            )
            .distinct()
            .order_by(EvaluationRow.network_id)
        )
    )


def _in_unfinished_pairs(session: Session, comparison: ComparisonRow, image_set: ImageSetRow) -> list[int]:
    """The networks that lack a pair, or a part of one: all that can be without transfers, and quickly told.

    In a zoo that is measured there are none, and its cells, four a pair, need not be looked at.
    """
    live = _live()
    one, other = live.alias("one"), live.alias("other")
    last = func.least(one.c.last_rung, other.c.last_rung, len(rungs_of(image_set)) - 1)
    finished = exists().where(
        PairRow.comparison_id == comparison.id,
        PairRow.a_id == one.c.id,
        PairRow.b_id == other.c.id,
        PairRow.fooled_both.is_not(None),
        PairRow.rungs > last,
    )
    evaluated = [
        exists().where(
            EvaluationRow.network_id == each.c.id,
            EvaluationRow.image_set_id == image_set.id,
            EvaluationRow.part == Part.ATTACK,
            EvaluationRow.rung == 0,
        )
        for each in (one, other)
    ]
    both = func.unnest(array([one.c.id, other.c.id]))
    return sorted(
        session.scalars(
            select(both).select_from(one.join(other, one.c.id < other.c.id)).where(~finished, *evaluated).distinct()
        )
    )
