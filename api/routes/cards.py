"""/models/<model>/card: what the people who made a model say about it."""

from typing import Annotated

from fastapi import APIRouter, Header, Response

from api.cache import names
from api.cards import POLICY, render
from api.lookup import find
from api.routes.similar import Reference
from api.schemas.base import Problem
from api.services import ServicesOf
from registry.reads.models import read_card

router = APIRouter(prefix="/models", tags=["models"])
MARKDOWN, HTML = "text/markdown", "text/html"


@router.get(
    "/{model}/card",
    response_class=Response,
    summary="A model's card",
    responses={
        200: {"content": {MARKDOWN: {"schema": {"type": "string"}}, HTML: {"schema": {"type": "string"}}}},
        304: {"description": "It is the one that If-None-Match names."},
        404: {"model": Problem},
    },
)
def get_card(
    model: Reference,
    services: ServicesOf,
    accept: Annotated[str, Header(description="text/markdown (also for */*), or text/html: cleaned.")] = MARKDOWN,
    if_none_match: Annotated[str | None, Header()] = None,
) -> Response:
    """Its Markdown as it was written, or as a fragment of HTML without scripts, styles, images and forms.

    PATCH /models/<model> writes it. Empty where there is none.
    """
    found = find(services, model)
    with services.sessions.begin() as session:
        card, revision = read_card(session, found.id)
    html = prefers_html(accept)
    entity_tag = f'"{revision}-{"html" if html else "md"}"'
    headers = {"ETag": entity_tag, "Vary": "Accept", "Cache-Control": "no-cache", "X-Content-Type-Options": "nosniff"}
    if if_none_match is not None and names(if_none_match, entity_tag):
        return Response(status_code=304, headers=headers)
    if not html:
        return Response(card, media_type=f"{MARKDOWN}; charset=utf-8", headers=headers)
    return Response(render(card), media_type=HTML, headers=headers | {"Content-Security-Policy": POLICY})


def prefers_html(accept: str) -> bool:
    """Whether text/html is asked for before text/markdown (RFC 9110, 12.5.1; what is not named has */*'s weight)."""
    weights: dict[str, float] = {}
    for each in accept.split(","):
        kind, *parameters = (part.strip().lower() for part in each.split(";"))
        quality = next((part.removeprefix("q=") for part in parameters if part.startswith("q=")), "1")
        try:
            weights[kind] = float(quality)
        except ValueError:
            weights[kind] = 0.0
    anything = max(weights.get("text/*", 0.0), weights.get("*/*", 0.0))
    return weights.get(HTML, anything) > weights.get(MARKDOWN, anything)
