"""/plan: what registering would cost."""

from fastapi import APIRouter, Response

from api.reads import ImageSetParameter, ProtocolParameter
from api.schemas.base import Problem
from api.schemas.plan import Plan
from api.services import ReadSession, ServicesOf
from registry.declarations import PlanDeclaration
from registry.errors import InvalidError, RegistryError
from registry.models import check_declaration
from registry.plans import make_plan

router = APIRouter(tags=["models"])


@router.post(
    "/plan",
    response_model=Plan,
    summary="What registering these models would cost",
    responses={status: {"model": Problem} for status in (404, 422)},
)
def plan_registration(
    declaration: PlanDeclaration,
    services: ServicesOf,
    session: ReadSession,
    image_set: ImageSetParameter = None,
    protocol: ProtocolParameter = None,
) -> Response:
    """Device hours, bytes and finish time, of the first images alone and in all. Nothing is started or stored.

    Every declaration is checked as POST /models checks it; `errors` names each one that would be refused.
    """
    errors = []
    for index, model in enumerate(declaration.models):
        try:
            check_declaration(session, model)
        except RegistryError as error:
            errors.append({"where": f"models.{index}", "name": model.name, "message": error.detail})
    if errors:
        raise InvalidError(
            f"{len(errors)} of the models would be refused, the first because {errors[0]['message']}", errors=errors
        )
    snapshot = services.watch.select(image_set, protocol)
    answer = Plan.of(make_plan(session, snapshot, declaration.models, services.watch.estimate_seconds()))
    return Response(answer.model_dump_json(), media_type="application/json")
