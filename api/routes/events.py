"""/models/<model>/events and /events: progress as server-sent events, from memory."""

from collections import Counter
from typing import Annotated, Any

from fastapi import APIRouter, Header, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import StreamingResponse

from api.access.actors import ActorOf
from api.live import EventStream, Make, State, tag_of
from api.lookup import find, of_task, select
from api.reads import ImageSetParameter, ProtocolParameter
from api.routes.similar import Reference
from api.schemas.base import Problem
from api.schemas.events import ModelEvent, RegistryEvent
from api.schemas.measuring import Comparison
from api.services import Services, ServicesOf
from registry.reads.models import summarise
from registry.reads.progress import Stage
from registry.reads.snapshot import Snapshot, View
from registry.reads.zoo import Model

router = APIRouter(tags=["models"])
LastEventId = Annotated[
    str | None, Header(description="The id of the last event that was received: the same state is not sent again.")
]
ENDS = {Stage.MEASURED: "measured", Stage.ARCHIVED: "archived", Stage.FAILED: "failed"}
# one event of the stream
EVENT = {"type": "object", "properties": {name: {"type": "string"} for name in ("event", "data", "id")}}


def _stream(schema: str) -> dict[int | str, dict[str, Any]]:
    described = f"Events `progress`, each with {schema} as JSON, and comments that keep the connection open."
    return {
        200: {"description": described, "content": {"text/event-stream": {"schema": EVENT}}},
        503: {"model": Problem},
    }


@router.get(
    "/models/{model}/events",
    response_class=StreamingResponse,
    summary="Follow a model's progress",
    responses={**_stream("ModelEvent"), 404: {"model": Problem}},
)
async def follow_model(
    *,
    model: Reference,
    services: ServicesOf,
    actor: ActorOf,
    last_event_id: LastEventId = None,
    image_set: ImageSetParameter = None,
    protocol: ProtocolParameter = None,
) -> Response:
    """The state at once and whenever it changes; `end`, with the reason, when it is measured, failed or deleted."""

    def begin() -> tuple[Model, Snapshot | None]:
        found = find(services, model)
        return found, of_task(services, select(services, image_set, protocol), found.task_id)

    found, snapshot = await run_in_threadpool(begin)
    selection = (snapshot.comparison.image_set, snapshot.comparison.protocol) if snapshot else None
    make = _model_state(services, found, selection)
    stream = services.live.listen((found.id, selection), make, last_event_id)
    return EventStream(services.live, actor.name, stream)


@router.get(
    "/events",
    response_class=StreamingResponse,
    summary="Follow the whole registry",
    responses=_stream("RegistryEvent"),
)
async def follow_registry(services: ServicesOf, actor: ActorOf, last_event_id: LastEventId = None) -> Response:
    """How far each comparison is and how many models are in which state, at once and whenever that changes."""
    stream = services.live.listen("registry", _registry_state(services), last_event_id)
    return EventStream(services.live, actor.name, stream)


def _model_state(services: Services, model: Model, selection: tuple[str, str] | None) -> Make:
    """Reads the model's state off a view."""

    def make(view: View) -> State:
        now = view.zoo.by_name.get(model.name)
        if now is None or now.id != model.id:
            return State('{"reason": "deleted"}', "deleted", end="deleted")
        snapshot = services.watch.peek(*selection) if selection else of_task(services, None, model.task_id)
        summary = summarise(now, snapshot)
        event = ModelEvent(
            model=now.name,
            state=now.state,
            failure=now.failure,
            concern=now.concern,
            comparison=snapshot.comparison.name if snapshot else None,
            version=snapshot.comparison.version if snapshot else None,
            progress=summary.progress,
            estimate_seconds=services.watch.pace.estimate_seconds(),
        )
        lasting = event.model_dump_json(exclude={"version", "estimate_seconds"})
        return State(event.model_dump_json(), tag_of(lasting), end=ENDS.get(summary.progress.stage))

    return make


def _registry_state(services: Services) -> Make:
    """Reads the registry's state off a view."""

    def make(view: View) -> State:
        estimate = services.watch.estimate_seconds()
        event = RegistryEvent(
            comparisons=[Comparison.of(each, services.watch.progress(each)) for each in view.zoo.comparisons],
            models=Counter(model.state.value for model in view.zoo.models),
            estimate_seconds=estimate,
        )
        lasting = event.model_dump_json(exclude={"estimate_seconds"})
        return State(event.model_dump_json(), tag_of(lasting))

    return make
