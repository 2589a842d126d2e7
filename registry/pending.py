"""What is still to be measured: an anti-join, not rows, so it can be neither lost nor stale."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from sqlalchemy import ARRAY, BindParameter, Exists, Integer, Select, and_, any_, bindparam, case, cast, exists, select
from sqlalchemy.orm import InstrumentedAttribute, Session, aliased

from registry.comparisons import LIVE_STATES, is_live
from registry.counting import is_pair_of, nearness
from registry.image_sets import rungs_of
from registry.tables import (
    AttackRow,
    EvaluationRow,
    ImageSetRow,
    ModelRow,
    ModelState,
    NetworkRow,
    PairRow,
    Part,
    RefusalRow,
    TransferRow,
)


@dataclass(frozen=True, slots=True)
class Cell:
    """A directed cell onto some target that waits for its transfer.

    nearness: the share of images that fooled, as far as the pair is known; None before rung 0.
    """

    source_id: int
    rung: int
    nearness: float | None = field(default=None, compare=False)


def pending_evaluations(session: Session, network_id: int, image_set: ImageSetRow) -> list[tuple[Part, int]]:
    """The (part, rung) that the network has not been evaluated on, rung 0 of the attack part first.

    None for a network that no live model names, and no rung beyond the last one that its models are measured to.
    """
    last_rung = session.scalars(
        select(ModelRow.last_rung)
        .where(ModelRow.network_id == network_id, ModelRow.deleted_at.is_(None), ModelRow.state.in_(LIVE_STATES))
        .order_by(ModelRow.last_rung.desc())
        .limit(1)
    ).first()
    if last_rung is None:
        return []
    wanted = [
        *((Part.ATTACK, rung) for rung in rungs_of(image_set) if rung <= last_rung),
        *([(Part.SELECT, 0)] if image_set.n_select else []),
        *([(Part.REPORT, 0)] if image_set.n_report else []),
    ]
    recorded = {
        (row.part, row.rung)
        for row in session.execute(
            select(EvaluationRow.part, EvaluationRow.rung).where(
                EvaluationRow.network_id == network_id, EvaluationRow.image_set_id == image_set.id
            )
        )
    }
    return [each for each in wanted if each not in recorded]


def pending_attacks(session: Session, network_id: int, comparison_id: int, image_set: ImageSetRow) -> list[int]:
    """The rungs that are evaluated and not attacked, rung 0 first; none of a network that cannot be attacked."""
    attacked = select(AttackRow.rung).where(
        AttackRow.comparison_id == comparison_id, AttackRow.network_id == network_id
    )
    return list(
        session.scalars(
            select(EvaluationRow.rung)
            .where(
                EvaluationRow.network_id == network_id,
                EvaluationRow.image_set_id == image_set.id,
                EvaluationRow.part == Part.ATTACK,
                EvaluationRow.rung.not_in(attacked),
                ~exists().where(
                    RefusalRow.comparison_id == comparison_id,
                    RefusalRow.source_id == network_id,
                    RefusalRow.target_id == network_id,
                ),
                is_live(EvaluationRow.network_id, rung=EvaluationRow.rung),
            )
            .order_by(EvaluationRow.rung)
        )
    )


def pending_cells(
    session: Session,
    target_id: int,
    comparison_id: int,
    image_set: ImageSetRow,
    *,
    sources: Sequence[int] | None = None,
) -> list[Cell]:
    """The recorded attacks of live networks that have not met this target, rung 0 first.

    A cell's rung 1 waits for its rung 0: a pair counts leading rungs only. Rung 1 begins with the sources that rung 0
    found the most similar, since neighbours are what people ask for.

    sources: those to look at (`jobs.hold`); None: all of them, which takes time in proportion.
    """
    asked = {"target": target_id, "comparison": comparison_id, "image_set": image_set.id}
    if sources is None:
        return [Cell(*row) for row in session.execute(_PENDING_CELLS, asked)]
    return [Cell(*row) for row in session.execute(_PENDING_CELLS_OF, asked | {"sources": list(sources)})]


def trusted_networks(session: Session, image_set: ImageSetRow) -> list[int]:
    """The networks of an image set's task that some ready model names: not those that are suspect."""
    return list(
        session.scalars(
            select(NetworkRow.id)
            .where(NetworkRow.task_id == image_set.task_id, is_live(NetworkRow.id, (ModelState.READY,)))
            .order_by(NetworkRow.id)
        )
    )


def has_cell(
    table: type[TransferRow] | type[RefusalRow],
    target: BindParameter[int] | InstrumentedAttribute[int],
    comparison: BindParameter[int] | int,
) -> Exists:
    """SQL: the attack (a row of AttackRow) has met the target, in a measured or a refused cell."""
    return exists().where(
        table.comparison_id == comparison,
        table.target_id == target,
        table.source_id == AttackRow.network_id,
        table.rung == AttackRow.rung,
    )


def _pending_cells_statement() -> Select[int, int, float]:
    target, comparison, image_set = (bindparam(name, type_=Integer) for name in ("target", "comparison", "image_set"))
    before = aliased(TransferRow)
    similarity = case((AttackRow.rung == 1, nearness()))
    return (
        select(AttackRow.network_id, AttackRow.rung, similarity)
        .join(
            EvaluationRow,
            and_(
                EvaluationRow.network_id == target,
                EvaluationRow.image_set_id == image_set,
                EvaluationRow.part == Part.ATTACK,
                EvaluationRow.rung == AttackRow.rung,
            ),
        )
        .outerjoin(PairRow, is_pair_of(AttackRow.network_id, target, AttackRow.comparison_id))
        .where(
            AttackRow.comparison_id == comparison,
            AttackRow.network_id != target,
            is_live(AttackRow.network_id, rung=AttackRow.rung),
            is_live(EvaluationRow.network_id, rung=AttackRow.rung),
            ~has_cell(TransferRow, target, comparison),
            ~has_cell(RefusalRow, target, comparison),
            (AttackRow.rung == 0)
            | exists().where(
                before.comparison_id == comparison,
                before.target_id == target,
                before.source_id == AttackRow.network_id,
                before.rung == 0,
            ),
        )
        .order_by(AttackRow.rung, similarity.desc().nulls_last(), AttackRow.network_id)
    )


# asked twice a job: building it takes longer than running it
_PENDING_CELLS = _pending_cells_statement()
# As a subquery the list is no constant to plan by: planned with each list anew, it took ten times as long as it ran.
_ASKED = cast(select(bindparam("sources", type_=ARRAY(Integer))).scalar_subquery(), ARRAY(Integer))
_PENDING_CELLS_OF = _PENDING_CELLS.where(AttackRow.network_id == any_(_ASKED))
