"""/plan: what registering would cost."""

from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response
from sqlalchemy.orm import Session

from api.problems import MAX_ERRORS
from api.reads import ImageSetParameter, ProtocolParameter
from api.schemas.base import Problem
from api.schemas.plan import Plan
from api.services import ServicesOf
from api.uploads import parse_metadata
from registry.declarations import PlanDeclaration, PlannedModel
from registry.errors import InvalidError, RegistryError, UnsupportedError
from registry.models import check_declaration
from registry.plans import make_plan

router = APIRouter(tags=["models"])
JSON = "application/json"
BODY: dict[str, Any] = {
    "requestBody": {"required": True, "content": {JSON: {"schema": {"$ref": "#/components/schemas/PlanDeclaration"}}}}
}


async def read_json(request: Request) -> bytes:
    """The body as it is: what is long is parsed by the route, in its thread."""
    content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if content_type != JSON:
        raise UnsupportedError(f"send the declarations as {JSON}; not {content_type[:80] or 'an untyped body'}.")
    return await request.body()


@router.post(
    "/plan",
    response_model=Plan,
    summary="What registering these models would cost",
    openapi_extra=BODY,
    responses={status: {"model": Problem} for status in (404, 415, 422)},
)
def plan_registration(
    body: Annotated[bytes, Depends(read_json)],
    services: ServicesOf,
    image_set: ImageSetParameter = None,
    protocol: ProtocolParameter = None,
) -> Response:
    """Device hours, bytes and finish time, of the first images alone and in all. Nothing is started or stored.

    Every declaration is checked as POST /models checks it; `errors` names the first of those that would be refused.
    """
    declaration = parse_metadata(PlanDeclaration, body, "the plan")
    with services.sessions.begin() as session:
        errors = _errors(session, declaration.models)
    if errors:
        raise InvalidError(
            f"{len(errors)} of the models would be refused, the first because {errors[0]['message']}",
            errors=errors[:MAX_ERRORS],
        )
    # between two transactions: the watch may have to read, on a connection of its own
    snapshot, backlog = services.watch.select(image_set, protocol), services.watch.backlog()
    with services.sessions.begin() as session:
        answer = Plan.of(make_plan(session, snapshot, declaration.models, backlog))
    return Response(answer.model_dump_json(), media_type="application/json")


def _errors(session: Session, models: Sequence[PlannedModel]) -> list[dict[str, str]]:
    """What POST /models would refuse: where, whose, and why."""
    errors = []
    for index, model in enumerate(models):
        try:
            check_declaration(session, model)
        except RegistryError as error:
            errors.append({"where": f"models.{index}", "name": model.name, "message": error.detail})
    return errors
