"""A network that comes back: its recorded attacks have not met the networks that came meanwhile."""

from sqlalchemy import select
from sqlalchemy.orm import Session, aliased

from registry.comparisons import is_live
from registry.jobs import want
from registry.tables import AttackRow, JobKind


def want_meetings(session: Session, network_id: int) -> None:
    """Ask every live network for transfers, wherever this one has attacked; what is already recorded is skipped.

    An attack asks for its transfers when it is recorded; networks that came while its own was not live were not asked.
    """
    other = aliased(AttackRow)
    meetings = session.execute(
        select(other.comparison_id, other.network_id, AttackRow.rung)
        .join(other, (other.comparison_id == AttackRow.comparison_id) & (other.rung == AttackRow.rung))
        .where(AttackRow.network_id == network_id, other.network_id != network_id, is_live(other.network_id))
        .order_by(other.network_id, other.comparison_id, AttackRow.rung)
    )
    for comparison_id, target_id, rung in meetings.all():
        want(session, JobKind.TRANSFERS, network_id=target_id, comparison_id=comparison_id, rung=rung)
