"""Finding models for routes, and answering with one."""

import re

from fastapi import Request, Response

from api.cache import Body, tag
from api.problems import RETRY_SECONDS
from api.schemas.models import ModelDetail
from api.services import Services
from registry.errors import NotFoundError, UnconditionalError
from registry.reads.models import describe
from registry.reads.snapshot import Snapshot
from registry.reads.zoo import Model

# a model's ETag: its revision, and a hash of the whole answer
_ENTITY_TAG = re.compile(r'"([0-9]{1,9})(-[0-9a-f]*)?"')


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
    """The answer with its ETag, which begins with the model's revision: progress changes the rest, no writer does."""
    content = answer.model_dump_json().encode()
    return Body(content, f'"{answer.revision}-{tag(content)[1:]}', "application/json")


def accepted(services: Services, name: str) -> Response:
    """202: the model as it is now, and where to see how it goes on."""
    body = body_of(detail(services, name, None, None))
    headers = {"Location": f"/models/{name}", "Retry-After": RETRY_SECONDS, "ETag": body.tag}
    return Response(body.content, status_code=202, media_type=body.media_type, headers=headers)


def seen_revisions(request: Request, *, required: bool) -> frozenset[int] | None:
    """The revisions that If-Match names; None for any (`*`), or where none is given and none is required.

    An ETag's hash is not compared: what has been measured since is no change that anybody made.
    """
    given = request.headers.get("if-match")
    if given is None and required:
        raise UnconditionalError(
            "send the model's ETag (GET /models/<model> has it) in If-Match, so that nobody's change is undone unseen; "
            "`If-Match: *` changes whatever is there."
        )
    if given is None or given.strip() == "*":
        return None
    found = [_ENTITY_TAG.fullmatch(each.strip().removeprefix("W/")) for each in given.split(",")]
    return frozenset(int(each[1]) for each in found if each)
