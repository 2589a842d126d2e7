"""Versions of comparisons: raised last by every transaction that changes an answer, and announced by NOTIFY."""

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from registry.tables import ComparisonRow

CHANNEL = "sat_version"


def raise_version(session: Session, comparison_id: int) -> int:
    """Raise one comparison's version and return it. Call it last: it holds the comparison's row until the commit."""
    version = session.execute(
        update(ComparisonRow)
        .where(ComparisonRow.id == comparison_id)
        .values(version=ComparisonRow.version + 1)
        .returning(ComparisonRow.version)
    ).scalar_one()
    session.execute(select(func.pg_notify(CHANNEL, str(comparison_id))))
    return version


def raise_all_versions(session: Session) -> None:
    """Raise every comparison's version: a model came, went or changed its state."""
    for comparison_id in session.scalars(select(ComparisonRow.id).order_by(ComparisonRow.id)).all():
        raise_version(session, comparison_id)
