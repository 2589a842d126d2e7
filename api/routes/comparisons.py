"""/comparisons: an image set and a protocol on which models are measured."""

from typing import Annotated

from fastapi import APIRouter, Path, Request, Response
from pydantic import AfterValidator

from api.access.actors import ActorOf
from api.cache import Body, make_body
from api.conditions import if_match, seen_states, stated_body
from api.idempotency.once import OnceOf
from api.paging import Cursor, Limit, next_url, page_of
from api.schemas.base import Problem
from api.schemas.measuring import Comparison, ComparisonPage
from api.services import Services, ServicesOf
from registry.comparisons import change_comparison, comparison_state, create_comparison
from registry.declarations import ComparisonChange, ComparisonDeclaration, require_no_nul
from registry.reads.zoo import Comparison as ComparisonRead

router = APIRouter(prefix="/comparisons", tags=["measuring"])
ImageSetName = Annotated[
    str, Path(description="Name of the image set.", examples=["digits"]), AfterValidator(require_no_nul)
]
ProtocolName = Annotated[
    str, Path(description="Name of the protocol.", examples=["pgd"]), AfterValidator(require_no_nul)
]


@router.post(
    "",
    status_code=201,
    response_model=Comparison,
    summary="Compare models on an image set by a protocol",
    responses={status: {"model": Problem} for status in (404, 422)},
)
def add_comparison(declaration: ComparisonDeclaration, services: ServicesOf, actor: ActorOf, once: OnceOf) -> Response:
    """The first comparison becomes the default. Nothing is measured until the state is `measuring`."""
    with services.writing() as session:
        create_comparison(session, declaration, actor=actor)
        location = f"/comparisons/{declaration.image_set}/{declaration.protocol}"
        once.done(session, 201, location=location)
    answer = _body_of(services, services.watch.comparison(declaration.image_set, declaration.protocol))
    headers = {"Location": location, "ETag": answer.tag}
    return Response(answer.content, status_code=201, media_type=answer.media_type, headers=headers)


@router.get(
    "/{image_set}/{protocol}",
    response_model=Comparison,
    summary="One comparison",
    responses={status: {"model": Problem} for status in (404, 422)},
)
def get_comparison(image_set: ImageSetName, protocol: ProtocolName, request: Request, services: ServicesOf) -> Response:
    """Its state and its progress."""
    return _body_of(services, services.watch.comparison(image_set, protocol)).respond(request)


@router.patch(
    "/{image_set}/{protocol}",
    response_model=Comparison,
    summary="Pause, drain, resume, or make default",
    openapi_extra=if_match(),
    responses={status: {"model": Problem} for status in (404, 412, 422)},
)
def patch_comparison(
    *,
    image_set: ImageSetName,
    protocol: ProtocolName,
    change: ComparisonChange,
    request: Request,
    services: ServicesOf,
    actor: ActorOf,
) -> Response:
    """Its results stay; its jobs wait while it is `paused` or `draining`.

    `paused`: jobs that run are given back after the result at hand. `draining`: they finish, and none starts.
    """
    seen = seen_states(request)
    with services.writing() as session:
        change_comparison(session, image_set, protocol, change, seen=seen, actor=actor)
    answer = _body_of(services, services.watch.comparison(image_set, protocol))
    return Response(answer.content, media_type=answer.media_type, headers={"ETag": answer.tag})


@router.get("", response_model=ComparisonPage, summary="All comparisons")
def list_all_comparisons(request: Request, services: ServicesOf, limit: Limit = 50, cursor: Cursor = None) -> Response:
    """Comparisons with their progress, the default one first."""
    comparisons = services.watch.view().zoo.comparisons
    page, position = page_of(
        comparisons, lambda each: [int(not each.is_default), each.id], cursor=cursor, limit=limit, descending=False
    )
    answer = ComparisonPage(
        items=[_shown(services, each) for each in page],
        next=next_url(request, position) if position else None,
        total=len(comparisons),
    )
    return make_body(answer.model_dump_json().encode()).respond(request)


def _shown(services: Services, comparison: ComparisonRead) -> Comparison:
    return Comparison.of(comparison, services.watch.progress(comparison))


def _body_of(services: Services, comparison: ComparisonRead) -> Body:
    state = comparison_state(comparison.state, is_default=comparison.is_default)
    return stated_body(state, _shown(services, comparison).model_dump_json().encode())
