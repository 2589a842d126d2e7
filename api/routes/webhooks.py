"""/webhooks: who is told by HTTP when a model is measured or has failed."""

from typing import Annotated

from fastapi import APIRouter, Path, Request, Response

from api.access.actors import ActorOf
from api.cache import make_body
from api.conditions import if_match, seen_states, stated_body
from api.idempotency.once import OnceOf
from api.paging import MOST_BIG_KEY, MOST_KEY, Cursor, Limit, decode_position, next_url
from api.schemas.base import Problem
from api.schemas.webhooks import Delivery, DeliveryPage, Webhook, WebhookPage
from api.services import ReadSession, ServicesOf
from registry.deliveries import list_deliveries
from registry.destinations import Destinations
from registry.reads.news import measured_in
from registry.webhooks import WebhookDeclaration, create_webhook, delete_webhook, get_webhook, list_webhooks

router = APIRouter(prefix="/webhooks", tags=["operations"])
WebhookId = Annotated[int, Path(ge=1, le=MOST_KEY, description="As POST /webhooks gave it.")]


@router.post(
    "",
    status_code=201,
    response_model=Webhook,
    summary="Be told of events",
    responses={status: {"model": Problem} for status in (409, 422)},
)
def add_webhook(body: WebhookDeclaration, services: ServicesOf, actor: ActorOf, once: OnceOf) -> Response:
    """The answer alone holds the `secret`, which signs every message (X-SAT-Signature)."""
    comparisons = services.watch.view().zoo.comparisons
    measured = measured_in([services.watch.select(each.image_set, each.protocol) for each in comparisons])
    with services.writing() as session:
        made = create_webhook(
            session, body, Destinations(services.settings.webhook_hosts), measured=measured, actor=actor
        )
        location = f"/webhooks/{made.row.id}"
        # what is kept to answer a repeated request holds no secret
        once.done(session, 201, location=location, body=Webhook.of(made).model_dump_json().encode())
    answer = Webhook.of(made, with_secret=True).model_dump_json()
    return Response(answer, status_code=201, media_type="application/json", headers={"Location": location})


@router.get("", response_model=WebhookPage, summary="One's webhooks")
def list_all_webhooks(
    request: Request, session: ReadSession, actor: ActorOf, limit: Limit = 50, cursor: Cursor = None
) -> Response:
    """Those of the key's team, with how their messages fare; an administrator sees all."""
    found, total = list_webhooks(session, actor=actor, after=decode_position(cursor), limit=limit)
    page = found[:limit]
    answer = WebhookPage(
        items=[Webhook.of(each) for each in page],
        next=next_url(request, page[-1].row.id) if len(found) > limit else None,
        total=total,
    )
    return make_body(answer.model_dump_json().encode()).respond(request)


@router.get(
    "/{webhook}",
    response_model=Webhook,
    summary="One webhook",
    responses={status: {"model": Problem} for status in (403, 404)},
)
def get_one_webhook(webhook: WebhookId, request: Request, session: ReadSession, actor: ActorOf) -> Response:
    """What it is told, and how its messages fare."""
    found = get_webhook(session, webhook, actor=actor)
    return stated_body(found.state, Webhook.of(found).model_dump_json().encode()).respond(request)


@router.get(
    "/{webhook}/deliveries",
    response_model=DeliveryPage,
    summary="A webhook's messages",
    responses={status: {"model": Problem} for status in (403, 404)},
)
def list_all_deliveries(
    *,
    webhook: WebhookId,
    request: Request,
    session: ReadSession,
    actor: ActorOf,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Response:
    """The newest first, with how often each was tried and why it did not arrive."""
    get_webhook(session, webhook, actor=actor)
    before = None if cursor is None else decode_position(cursor, most=MOST_BIG_KEY)
    found, total = list_deliveries(session, webhook, before=before, limit=limit)
    page = found[:limit]
    answer = DeliveryPage(
        items=[Delivery.model_validate(row) for row in page],
        next=next_url(request, page[-1].id) if len(found) > limit else None,
        total=total,
    )
    return make_body(answer.model_dump_json().encode()).respond(request)


@router.delete(
    "/{webhook}",
    status_code=204,
    summary="Delete a webhook",
    openapi_extra=if_match(),
    responses={status: {"model": Problem} for status in (403, 404, 412)},
)
def remove_webhook(webhook: WebhookId, request: Request, services: ServicesOf, actor: ActorOf) -> None:
    """Tell it nothing more, not even what still waits."""
    seen = seen_states(request)
    with services.writing() as session:
        delete_webhook(session, webhook, actor=actor, seen=seen)
