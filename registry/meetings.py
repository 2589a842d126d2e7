"""A source's recorded attacks, and the targets that have not met them."""

from sqlalchemy import and_, func, select
from sqlalchemy.orm import Session

from registry.comparisons import is_live
from registry.counting import is_pair_of, nearness
from registry.jobs import Claim
from registry.pending import has_cell
from registry.tables import AttackRow, EvaluationRow, ImageSetRow, JobKind, PairRow, Part, RefusalRow, TransferRow
from registry.wanting import priority_of, want_of_networks


def want_meetings(session: Session, claimed: Claim, image_set: ImageSetRow) -> None:
    """Ask every live, evaluated network for the cells of the claim's network, its source, that are missing.

    To be called in a transaction that begins after the attack's own has committed, as the attack's job ends. A network
    whose evaluation this one does not see is recorded later, so it sees the attack when it looks for cells itself: of
    the two, one always sees the other. (Asked in the transaction that records the attack, both could miss the other.)
    """
    assert claimed.network_id is not None
    assert claimed.comparison_id is not None
    rung = func.min(AttackRow.rung)
    missing = session.execute(
        select(EvaluationRow.network_id, rung.label("rung"), func.max(nearness()).label("nearness"))
        .join(
            AttackRow,
            and_(
                AttackRow.comparison_id == claimed.comparison_id,
                AttackRow.network_id == claimed.network_id,
                AttackRow.rung == EvaluationRow.rung,
            ),
        )
        .outerjoin(PairRow, is_pair_of(EvaluationRow.network_id, claimed.network_id, claimed.comparison_id))
        .where(
            EvaluationRow.image_set_id == image_set.id,
            EvaluationRow.part == Part.ATTACK,
            EvaluationRow.network_id != claimed.network_id,
            is_live(EvaluationRow.network_id, rung=EvaluationRow.rung),
            is_live(AttackRow.network_id, rung=AttackRow.rung),
            ~has_cell(TransferRow, EvaluationRow.network_id, claimed.comparison_id),
            ~has_cell(RefusalRow, EvaluationRow.network_id, claimed.comparison_id),
        )
        .group_by(EvaluationRow.network_id)
        .order_by(EvaluationRow.network_id)
    )
    priorities = {row.network_id: priority_of(JobKind.TRANSFERS, row.rung, row.nearness) for row in missing}
    want_of_networks(session, JobKind.TRANSFERS, priorities, claimed.comparison_id, source_id=claimed.network_id)
