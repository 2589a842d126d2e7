"""GET /agreement."""

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from fastapi.concurrency import run_in_threadpool

from api.cache import Source, make_body
from api.reads import address_of
from api.schemas.agreement import Agreement
from api.schemas.base import Problem
from api.services import Services, ServicesOf
from registry.errors import InvalidError
from registry.reads.agreement import read_agreement
from registry.reads.snapshot import Snapshot

router = APIRouter(tags=["similarity"])
Comparisons = Annotated[
    str,
    Query(description="Two names, with a comma between.", examples=["digits/pgd,digits/pgd-paper"], max_length=600),
]


@router.get(
    "/agreement",
    response_model=Agreement,
    summary="How far two comparisons rank pairs alike",
    responses={status: {"model": Problem} for status in (404, 422)},
)
async def get_agreement(comparisons: Comparisons, request: Request, services: ServicesOf) -> Response:
    """Spearman's correlation over the pairs measured in both, its interval from resampling models, Mantel's test."""
    first, second = await run_in_threadpool(_select, services, comparisons)
    answer = Agreement.of(await run_in_threadpool(read_agreement, first, second))
    body = make_body(answer.model_dump_json().encode())
    sources = (Source(each.comparison.image_set, each.comparison.protocol, each.serial) for each in (first, second))
    services.cache.put(address_of(request), body, *sources)
    return body.respond(request)


def _select(services: Services, comparisons: str) -> tuple[Snapshot, Snapshot]:
    names = [name.strip() for name in comparisons.split(",")]
    parts = [name.split("/") for name in names]
    if len(names) != 2 or any(len(each) != 2 or not all(each) for each in parts):  # noqa: PLR2004  a pair of pairs
        raise InvalidError(
            "`comparisons` needs two names with a comma between, such as digits/pgd,digits/mi-fgsm "
            "(GET /comparisons lists them)."
        )
    first, second = (services.watch.select(image_set, protocol) for image_set, protocol in parts)
    return first, second
