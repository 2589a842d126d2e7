"""Changing models: PATCH, DELETE, restore."""

from fastapi import APIRouter, Request, Response

from api.access.actors import ActorOf
from api.conditions import if_match, seen_states
from api.idempotency.once import OnceOf
from api.lookup import accepted, body_of, detail
from api.routes.similar import Reference
from api.schemas.base import Problem
from api.schemas.models import ModelDetail
from api.services import ServicesOf
from registry.changes import ModelChange, change_model
from registry.models import delete_model
from registry.restoring import restore_model

router = APIRouter(prefix="/models", tags=["models"])


@router.patch(
    "/{model}",
    response_model=ModelDetail,
    summary="Change what describes a model",
    openapi_extra=if_match(required=True),
    responses={status: {"model": Problem} for status in (403, 404, 409, 412, 422, 428)},
)
def patch_model(
    model: Reference, change: ModelChange, request: Request, services: ServicesOf, actor: ActorOf
) -> Response:
    """Description, tags, card, license, expected accuracy; whether and how deep it is measured. Never its network."""
    seen = seen_states(request, required=True)
    with services.writing() as session:
        name = change_model(session, model, change, actor=actor, seen=seen)
    body = body_of(detail(services, name, None, None))
    return Response(body.content, media_type=body.media_type, headers={"ETag": body.tag})


@router.delete(
    "/{model}",
    status_code=204,
    summary="Delete a model",
    openapi_extra=if_match(),
    responses={status: {"model": Problem} for status in (403, 404, 409, 412)},
)
def remove_model(model: Reference, request: Request, services: ServicesOf, actor: ActorOf) -> None:
    """Free its names at once and take it out of every answer; what was measured stays until it is collected."""
    seen = seen_states(request)
    with services.writing() as session:
        delete_model(session, model, actor=actor, seen=seen)


@router.post(
    "/{model}/restore",
    status_code=202,
    response_model=ModelDetail,
    summary="Bring a deleted model back",
    responses={status: {"model": Problem} for status in (403, 404, 409)},
)
def restore_deleted_model(model: Reference, services: ServicesOf, actor: ActorOf, once: OnceOf) -> Response:
    """Named as it was, or `~<id>` (`reference` in GET /models?deleted=true); 409 when its name is taken."""
    with services.writing() as session:
        name = restore_model(session, model, actor=actor)
        once.done(session, 202, location=f"/models/{name}")
    return accepted(services, name)
