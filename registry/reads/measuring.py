"""Image sets and protocols, straight from the database."""

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from registry.errors import NotFoundError
from registry.tables import ImageSetRow, ProtocolRow, TaskRow


def list_image_sets(session: Session, *, after: int, limit: int) -> tuple[list[tuple[ImageSetRow, TaskRow]], int]:
    """Up to limit + 1 image sets with an id above `after`, with their tasks, and how many there are in all."""
    total = session.execute(select(func.count()).select_from(ImageSetRow)).scalar_one()
    rows = session.execute(
        select(ImageSetRow, TaskRow)
        .join(TaskRow, TaskRow.id == ImageSetRow.task_id)
        .where(ImageSetRow.id > after)
        .order_by(ImageSetRow.id)
        .limit(limit + 1)
    )
    return [(image_set, task) for image_set, task in rows], total


def find_image_set(session: Session, name: str) -> tuple[ImageSetRow, TaskRow] | None:
    """The image set of that name with its task, or None."""
    found = session.execute(
        select(ImageSetRow, TaskRow).join(TaskRow, TaskRow.id == ImageSetRow.task_id).where(ImageSetRow.name == name)
    ).one_or_none()
    return (found[0], found[1]) if found else None


def get_image_set(session: Session, name: str) -> tuple[ImageSetRow, TaskRow]:
    """As `find_image_set`; NotFoundError lists what there is."""
    found = find_image_set(session, name)
    if found is None:
        names = list(session.scalars(select(ImageSetRow.name).order_by(ImageSetRow.name).limit(20)))
        raise NotFoundError(f"there is no image set {name!r}. Image sets: {', '.join(names) or 'none yet'}.")
    return found


def list_protocols(session: Session, *, after: int, limit: int) -> tuple[list[ProtocolRow], int]:
    """Up to limit + 1 protocols with an id above `after`, and how many there are in all."""
    total = session.execute(select(func.count()).select_from(ProtocolRow)).scalar_one()
    rows = session.scalars(select(ProtocolRow).where(ProtocolRow.id > after).order_by(ProtocolRow.id).limit(limit + 1))
    return list(rows), total
