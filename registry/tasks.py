"""Tasks: ordered lists of class names, and how a network's outputs map to them."""

import hashlib
import json
from collections.abc import Sequence

from sqlalchemy import exists, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from registry.errors import ConflictError, InvalidError, NotFoundError
from registry.locks import AdvisoryLock
from registry.tables import ComparisonRow, ImageSetRow, TaskRow

SHOWN_CLASSES = 12


def task_digest(classes: Sequence[str]) -> bytes:
    """sha256 of the ordered class names as canonical JSON."""
    return hashlib.sha256(json.dumps(list(classes), ensure_ascii=False, separators=(",", ":")).encode()).digest()


def get_or_create_task(session: Session, name: str, classes: Sequence[str]) -> TaskRow:
    """The task with exactly these classes, under the name it first got; ConflictError if the name means another."""
    digest = task_digest(classes)
    session.execute(insert(TaskRow).values(name=name, digest=digest, classes=list(classes)).on_conflict_do_nothing())
    task = session.scalars(select(TaskRow).where(TaskRow.digest == digest)).one_or_none()
    if task is None:
        other = session.scalars(select(TaskRow).where(TaskRow.name == name)).one()
        raise ConflictError(
            f"task {name!r} already means another list of classes: choose another task name, or send its classes.",
            classes={"sent": list(classes)[:SHOWN_CLASSES], "task": other.classes[:SHOWN_CLASSES]},
        )
    return task


def get_task(session: Session, name: str) -> TaskRow:
    """The task of that name; NotFoundError lists what there is."""
    task = session.scalars(select(TaskRow).where(TaskRow.name == name)).one_or_none()
    if task is None:
        names = list(session.scalars(select(TaskRow.name).order_by(TaskRow.name).limit(20)))
        raise NotFoundError(f"there is no task {name!r}. Tasks: {', '.join(names) or 'none yet'}.", near=names)
    return task


def default_task(session: Session) -> TaskRow | None:
    """The task of the default comparison, if there is one."""
    return session.scalars(
        select(TaskRow)
        .join(ImageSetRow, ImageSetRow.task_id == TaskRow.id)
        .join(ComparisonRow, ComparisonRow.image_set_id == ImageSetRow.id)
        .where(ComparisonRow.is_default)
    ).one_or_none()


def settle_tasks(session: Session, *, alone: bool) -> None:
    """Until the transaction ends, choose tasks for models (beside others), or (alone) change what they choose from.

    Without it a model that is being registered could join a task that an image set is just making obsolete, and a
    network that becomes live could miss a comparison that is just being made, and be missed by it. To be taken first
    in a transaction: whoever holds a row's lock must not wait here.
    """
    lock = func.pg_advisory_xact_lock if alone else func.pg_advisory_xact_lock_shared
    session.execute(select(lock(AdvisoryLock.TASKS)))


def class_map(outputs: Sequence[str], task: Sequence[str]) -> list[int] | None:
    """For each class of the task the output that stands for it; None when one has no output."""
    position = {name: index for index, name in enumerate(outputs)}
    mapped = [position.get(name) for name in task]
    return None if None in mapped else [index for index in mapped if index is not None]


def find_task_for(session: Session, outputs: Sequence[str]) -> tuple[TaskRow, list[int]]:
    """The task that a network with these outputs can be measured on, and its class map.

    Tasks with an image set come first, and among them an exact match, then the default comparison's task, then any
    whose classes are all among the outputs. With no task at all the outputs become one (the model then waits for an
    image set of it). InvalidError compares the two lists when no task fits.
    """
    settle_tasks(session, alone=False)
    exact, default = task_digest(outputs), default_task(session)
    has_images = exists().where(ImageSetRow.task_id == TaskRow.id)
    others = session.scalars(
        select(TaskRow).order_by(
            has_images.desc(),
            (TaskRow.digest == exact).desc(),
            (TaskRow.id == (default.id if default else None)).desc().nulls_last(),
            TaskRow.id,
        )
    ).all()
    for task in others:
        mapped = class_map(outputs, task.classes)
        if mapped is not None:
            return task, mapped
    if not others:
        name = f"task-{task_digest(outputs).hex()[:8]}"
        return get_or_create_task(session, name, outputs), list(range(len(outputs)))
    raise _mismatch(outputs, default or others[0])


def _mismatch(outputs: Sequence[str], task: TaskRow) -> InvalidError:
    missing = [name for name in task.classes if name not in set(outputs)]
    return InvalidError(
        f"the model's {len(outputs)} classes ({_shorten(outputs)}) do not cover the {len(task.classes)} classes of "
        f"task {task.name!r} ({_shorten(task.classes)}): {_shorten(missing)} missing. Correct `classes` if they name "
        "the same things differently; for another task, import its image set first.",
        classes={
            "model": list(outputs)[:SHOWN_CLASSES],
            "task": task.classes[:SHOWN_CLASSES],
            "missing": missing[:SHOWN_CLASSES],
        },
    )


def _shorten(names: Sequence[str]) -> str:
    shown = ", ".join(names[:SHOWN_CLASSES])
    return f"{shown} …" if len(names) > SHOWN_CLASSES else shown
