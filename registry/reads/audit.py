"""The audit log, straight from the database."""

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from registry.tables import AuditRow


def list_audit(
    session: Session, *, action: str | None, subject: str | None, actor: str | None, before: int | None, limit: int
) -> tuple[list[AuditRow], int]:
    """Up to limit + 1 entries with an id below `before`, the newest first, and how many pass the filters in all."""
    wanted = [
        column == value
        for column, value in ((AuditRow.action, action), (AuditRow.subject, subject), (AuditRow.actor, actor))
        if value is not None
    ]
    total = session.execute(select(func.count()).select_from(AuditRow).where(*wanted)).scalar_one()
    older = [] if before is None else [AuditRow.id < before]
    rows = session.scalars(select(AuditRow).where(*wanted, *older).order_by(AuditRow.id.desc()).limit(limit + 1))
    return list(rows), total
