"""Models that came before their image set: brought to its task when that lists their classes in another order."""

from sqlalchemy import exists, select
from sqlalchemy.orm import Session

from registry.jobs import fence_off
from registry.models import content_digest
from registry.tables import ImageSetRow, JobKind, ModelRow, ModelState, TaskRow
from registry.tasks import class_map
from registry.versions import raise_all_versions
from registry.wanting import want


def adopt_waiting_models(session: Session, task: TaskRow) -> int:
    """Map to this task the models whose own task has the same classes and no image set; return how many.

    They are prepared again, as a network's digest holds the order of its classes; failed ones when they are retried.
    Archived models stay where they are: nothing is measured of them.
    """
    waiting = [
        (model_id, known_as)
        for model_id, known_as in session.execute(
            select(ModelRow.id, TaskRow)
            .join(TaskRow, TaskRow.id == ModelRow.task_id)
            .where(
                TaskRow.id != task.id,
                ~exists().where(ImageSetRow.task_id == TaskRow.id),
                ModelRow.state != ModelState.ARCHIVED,
            )
            .order_by(ModelRow.id)
        )
        if set(known_as.classes) == set(task.classes)
    ]
    # jobs before models: the order in which workers lock too
    for model_id, _ in waiting:
        fence_off(session, model_id=model_id)
    for model_id, known_as in waiting:
        model = session.get_one(ModelRow, model_id, with_for_update=True, populate_existing=True)
        if model.state is not ModelState.FAILED and model.deleted_at is None:
            want(session, JobKind.PREPARE, model_id=model_id)
        _move(model, known_as, task)
    session.flush()
    if waiting:
        raise_all_versions(session)
    return len(waiting)


def _move(model: ModelRow, known_as: TaskRow, task: TaskRow) -> None:
    order = class_map(known_as.classes, task.classes)
    assert order is not None, "the two lists hold the same names"
    outputs = model.declaration["class_map"]
    model.declaration = model.declaration | {"class_map": [outputs[index] for index in order]}
    model.content_sha256 = content_digest(model.declaration, task, model.checkpoint)
    model.task_id = task.id
    if model.state is not ModelState.FAILED:
        model.state, model.concern, model.network_id = ModelState.RECEIVED, None, None
