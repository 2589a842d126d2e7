"""Versions of comparisons: raised last by every transaction that changes an answer, and announced by NOTIFY."""

from sqlalchemy import select, text, update
from sqlalchemy.orm import Session

from registry.tables import ComparisonRow

CHANNEL = "sat_version"
# With every cell that is recorded: one statement, and as text, since building it takes longer than running it.
RAISE = "update comparisons set version = version + 1 where id = :comparison returning id, version"
TELL = "select version, pg_notify(:channel, id::text) from raised"
_RAISE = text(f"with raised as ({RAISE}) {TELL}")


def raise_version(session: Session, comparison_id: int) -> int:
    """Raise one comparison's version and return it. Call it last: it holds the comparison's row until the commit."""
    session.flush()  # what is still to be written goes before: comparisons are locked last
    version: int = session.execute(_RAISE, {"comparison": comparison_id, "channel": CHANNEL}).scalar_one()
    return version


def raise_version_forgetting(session: Session, comparison_id: int) -> int:
    """As `raise_version`, where results were deleted: no row is left that a newer version could tell of."""
    version = raise_version(session, comparison_id)
    session.execute(update(ComparisonRow).where(ComparisonRow.id == comparison_id).values(forgot_version=version))
    return version


def raise_all_versions(session: Session, *, forgetting: bool = False) -> None:
    """Raise every comparison's version: a model came, went or changed its state."""
    raise_one = raise_version_forgetting if forgetting else raise_version
    for comparison_id in session.scalars(select(ComparisonRow.id).order_by(ComparisonRow.id)).all():
        raise_one(session, comparison_id)
