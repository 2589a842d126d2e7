"""Bringing back a deleted model, with its results, until the garbage collector has taken it."""

import re

from sqlalchemy import or_, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from registry.access import Actor, record_audit, require_owner
from registry.comparisons import LIVE_STATES, want_evaluations
from registry.errors import ConflictError, NotFoundError
from registry.jobs import lock_jobs
from registry.naming import find_model
from registry.tables import JobKind, JobRow, ModelRow, ModelState, NameRow
from registry.tasks import settle_tasks
from registry.versions import raise_all_versions
from registry.wanting import want

_DELETED = re.compile(r"~([0-9]{1,9})")


def reference_of(model_id: int) -> str:
    """How a deleted model is addressed, even when its name means another one by now."""
    return f"~{model_id}"


def restore_model(session: Session, reference: str, *, actor: Actor) -> str:
    """Give a deleted model its name back and go on measuring it; return the name.

    reference: `~<id>`, or the name that it had (the last one deleted of that name). Its aliases were freed and stay so.
    ConflictError when the name is taken; NotFoundError when there is no such model any more.
    """
    settle_tasks(session, alone=False)
    model = _find_deleted(session, reference)
    require_owner(actor, model.owner, f"the deleted model {reference!r}")
    # jobs before models: the order in which workers and the collector lock too
    lock_jobs(session, or_(JobRow.model_id == model.id, JobRow.network_id == model.network_id))
    _lock_deleted(session, model, reference)
    name = model.deleted_name
    assert name is not None
    entered = session.execute(
        insert(NameRow).values(name=name, model_id=model.id).on_conflict_do_nothing().returning(NameRow.name)
    ).scalar_one_or_none()
    if entered is None:
        raise ConflictError(
            f"the name {name!r} was given to another model or alias: delete that one first, then restore "
            f"{reference_of(model.id)}."
        )
    model.deleted_at = model.deleted_name = None
    model.revision += 1
    session.flush()
    if model.state is ModelState.RECEIVED:
        want(session, JobKind.PREPARE, model_id=model.id)
    elif model.state in LIVE_STATES:
        assert model.network_id is not None
        want_evaluations(session, model.network_id, model.task_id)
    record_audit(session, actor, "model.restore", name, {"id": model.id})
    raise_all_versions(session)
    return name


def _find_deleted(session: Session, reference: str) -> ModelRow:
    """The deleted model, as it is now: until it is locked it can be collected, or restored by another."""
    by_id = _DELETED.fullmatch(reference)
    which = ModelRow.id == int(by_id[1]) if by_id else ModelRow.deleted_name == reference
    model = session.scalars(
        select(ModelRow)
        .where(which, ModelRow.deleted_at.is_not(None))
        .order_by(ModelRow.deleted_at.desc(), ModelRow.id.desc())
        .limit(1)
    ).first()
    if model is not None:
        return model
    if find_model(session, reference) is not None:
        raise _not_deleted(reference)
    raise _collected(reference)


def _lock_deleted(session: Session, model: ModelRow, reference: str) -> None:
    locked = select(ModelRow).where(ModelRow.id == model.id).with_for_update()
    if session.scalars(locked.execution_options(populate_existing=True)).one_or_none() is None:
        raise _collected(reference)
    if model.deleted_at is None:
        raise _not_deleted(reference)


def _not_deleted(reference: str) -> ConflictError:
    return ConflictError(f"model {reference!r} is not deleted: there is nothing to restore.")


def _collected(reference: str) -> NotFoundError:
    return NotFoundError(
        f"there is no deleted model {reference!r}, or it has been collected since: GET /models?deleted=true lists "
        "those that can be restored."
    )
