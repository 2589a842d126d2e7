"""Finding models for routes, and answering with one."""

from fastapi import Response

from api.cache import Body
from api.conditions import stated_body
from api.problems import RETRY_SECONDS
from api.schemas.models import ModelDetail
from api.services import Services
from registry.errors import NotFoundError
from registry.reads.models import describe
from registry.reads.snapshot import Snapshot
from registry.reads.zoo import Model


def select(services: Services, image_set: str | None, protocol: str | None) -> Snapshot | None:
    """The comparison asked for; None when none is asked for and there is none."""
    try:
        return services.watch.select(image_set, protocol)
    except NotFoundError:
        if image_set is None and protocol is None:
            return None
        raise


def find(services: Services, reference: str) -> Model:
    try:
        return services.watch.view().zoo.find(reference)
    except NotFoundError:
        return services.watch.look_again().zoo.find(reference)


def detail(services: Services, reference: str, image_set: str | None, protocol: str | None) -> ModelDetail:
    model = find(services, reference)
    snapshot = of_task(services, select(services, image_set, protocol), model.task_id)
    with services.sessions.begin() as session:
        return ModelDetail.of_detail(describe(session, services.watch.view().zoo, model, snapshot))


def of_task(services: Services, snapshot: Snapshot | None, task_id: int) -> Snapshot | None:
    """The snapshot, or one of the task where it measures another."""
    if snapshot is not None and snapshot.comparison.task_id == task_id:
        return snapshot
    return services.watch.select_for_task(task_id)


def body_of(answer: ModelDetail) -> Body:
    """The answer with its ETag, which begins with the model's revision and number."""
    return stated_body(f"{answer.revision}{answer.reference}", answer.model_dump_json().encode())


def accepted(services: Services, name: str) -> Response:
    """202: the model as it is now, and where to see how it goes on."""
    body = body_of(detail(services, name, None, None))
    headers = {"Location": f"/models/{name}", "Retry-After": RETRY_SECONDS, "ETag": body.tag}
    return Response(body.content, status_code=202, media_type=body.media_type, headers=headers)
