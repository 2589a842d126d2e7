"""An attack whose images cannot be made again bit by bit: it goes, with the cells that were measured from them.

What is asked for anew is recorded under its own claim, so nothing counts twice; and a cell that was being computed
from the old images is not recorded any more (`registry.results.record_transfers` compares their hash).
"""

from sqlalchemy import and_, delete, or_, select, tuple_
from sqlalchemy.orm import Session

from registry.counting import count_pairs
from registry.jobs import Claim, hold
from registry.results import write_pairs
from registry.tables import AttackRow, JobKind, PairRow, RefusalRow, TransferRow
from registry.versions import raise_version_forgetting
from registry.wanting import want


def replace_attack(session: Session, claimed: Claim, source_id: int, rung: int, images_sha256: bytes) -> bool:
    """Forget the attack and its cells, and ask for both anew; False when somebody else has done so."""
    assert claimed.comparison_id is not None
    comparison_id = claimed.comparison_id
    # the attack's job before the claim's, which is a transfers job: the order in which an attack is recorded
    want(session, JobKind.ATTACK, network_id=source_id, comparison_id=comparison_id, rung=rung)
    hold(session, claimed)
    # from now on no cell of it can be recorded, and those that were being recorded are there to be seen
    attack = session.scalars(
        select(AttackRow)
        .where(AttackRow.comparison_id == comparison_id, AttackRow.network_id == source_id, AttackRow.rung == rung)
        .with_for_update()
    ).one_or_none()
    if attack is None or attack.images_sha256 != images_sha256:
        return False
    targets = _delete_cells(session, attack)
    session.delete(attack)
    session.flush()
    _recount(session, comparison_id, source_id, targets)
    return True


def _delete_cells(session: Session, attack: AttackRow) -> list[int]:
    """Delete the attack's cells and refusals; return the targets whose cells went."""
    of_attack = [
        and_(
            table.comparison_id == attack.comparison_id,
            table.source_id == attack.network_id,
            table.rung == attack.rung,
        )
        for table in (TransferRow, RefusalRow)
    ]
    targets = session.scalars(delete(TransferRow).where(of_attack[0]).returning(TransferRow.target_id)).all()
    session.execute(delete(RefusalRow).where(of_attack[1]))
    return list(targets)


def _recount(session: Session, comparison_id: int, source_id: int, targets: list[int]) -> None:
    """Bring the pairs up to date: all are locked, then counted, then stamped with one version."""
    session.execute(
        select(PairRow.version)
        .where(
            PairRow.comparison_id == comparison_id,
            or_(
                and_(PairRow.a_id == source_id, PairRow.b_id.in_(targets)),
                and_(PairRow.b_id == source_id, PairRow.a_id.in_(targets)),
            ),
        )
        .order_by(PairRow.a_id, PairRow.b_id)
        .with_for_update()
    )
    counted = count_pairs(session, comparison_id, source_id, targets)
    left = {pair: counts for pair, counts in counted.items() if counts["rungs"]}
    write_pairs(session, comparison_id, left, raise_version_forgetting(session, comparison_id))
    gone = counted.keys() - left.keys()
    session.execute(
        delete(PairRow).where(
            PairRow.comparison_id == comparison_id, tuple_(PairRow.a_id, PairRow.b_id).in_(sorted(gone))
        )
    )
