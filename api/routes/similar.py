"""GET /similar/<model>."""

import math
from typing import Annotated

from fastapi import APIRouter, Path, Query, Response
from pydantic import AfterValidator

from api.paging import FOREIGN, MAX_LIMIT, Cursor, decode_cursor, next_url
from api.reads import ReadsOf
from api.schemas.pairs import Similar
from registry.declarations import require_no_nul
from registry.errors import InvalidError
from registry.reads.similar import Order, read_similar
from registry.reads.snapshot import Snapshot

router = APIRouter(tags=["similarity"])
Reference = Annotated[
    str,
    Path(description="A model's name, alias, or `@<network digest>`.", examples=["resnet-a"]),
    AfterValidator(require_no_nul),
]


@router.get("/similar/{model}", response_model=Similar, summary="The models nearest to one, or farthest from it")
async def list_similar(
    model: Reference,
    reads: ReadsOf,
    k: Annotated[int, Query(ge=1, le=MAX_LIMIT, description="How many.")] = 10,
    order: Order = Order.NEAREST,
    cursor: Cursor = None,
) -> Response:
    """The k neighbours, each with its interval, how it was obtained, and what is still to be measured."""
    after = _after(cursor)

    def read(snapshot: Snapshot) -> Similar:
        found = read_similar(snapshot, model, order=order, k=k, after=after)
        last = found.items[-1] if found.more else None
        return Similar.of(found, None if last is None else next_url(reads.request, [last.sat, last.model]))

    return await reads.answer(read, quick=True)


def _after(cursor: str | None) -> tuple[float, str] | None:
    match decode_cursor(cursor, list):
        case None:
            return None
        case [float(sat), str(name)] if math.isfinite(sat):
            return sat, name
    raise InvalidError(FOREIGN)
