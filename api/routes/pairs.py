"""GET /pairs, GET /pairs/<a>/<b> and GET /matrix."""

from typing import Annotated, Literal

from fastapi import APIRouter, Query, Response
from fastapi.responses import StreamingResponse
from pydantic import AfterValidator

from api.cache import matches, tag
from api.matrix_formats import MEDIA_TYPES, Format, Values, writer_of
from api.paging import FOREIGN, Cursor, Limit, decode_cursor, next_url
from api.reads import ReadsOf
from api.renderings import Rendered
from api.routes.similar import Reference
from api.schemas.pairs import Matrix, Pair, PairPage
from api.services import Services
from registry.declarations import require_no_nul
from registry.errors import InvalidError
from registry.reads.listed_pairs import Flag, PairFilter, list_pairs
from registry.reads.matrix import read_matrix
from registry.reads.pairs import read_pair
from registry.reads.scores import Obtained
from registry.reads.snapshot import Snapshot

router = APIRouter(tags=["similarity"])


@router.get("/pairs", response_model=PairPage, summary="All recorded pairs")
async def list_all_pairs(
    *,
    reads: ReadsOf,
    model: Annotated[
        str | None,
        Query(description="A name, an alias, or `@<network digest>`: only its pairs.", examples=["resnet-a"]),
        AfterValidator(lambda text: text and require_no_nul(text)),
    ] = None,
    obtained: Annotated[Literal["measured", "one-sided"] | None, Query(description="Both directions, or one.")] = None,
    flag: Annotated[Flag | None, Query(description="Only pairs with this flag.")] = None,
    min_sat: Annotated[float | None, Query(ge=-100, le=100, description="SAT at least this.")] = None,
    max_sat: Annotated[float | None, Query(ge=-100, le=100, description="SAT at most this.")] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Response:
    """Each pair once, by the names of both models; what is not measured yet is not listed."""
    after = _after(cursor)
    wanted = PairFilter(
        model=model,
        obtained=None if obtained is None else Obtained(obtained),
        flag=flag,
        min_sat=min_sat,
        max_sat=max_sat,
    )

    def read(snapshot: Snapshot) -> PairPage:
        found = list_pairs(snapshot, wanted, after=after, limit=limit)
        last = found.items[-1] if found.more else None
        following = None if last is None else next_url(reads.request, [last.a, last.score.model])
        return PairPage.of(found, following)

    return await reads.answer(read)


@router.get("/pairs/{a}/{b}", response_model=Pair, summary="One pair in full")
async def get_pair(a: Reference, b: Reference, reads: ReadsOf) -> Response:
    """Counts, interval, rungs, controls, and who made them; for a model with itself, its self-fooling."""

    def read(snapshot: Snapshot) -> Pair:
        return _read_pair(reads.services, snapshot, a, b)

    return await reads.answer(read)


@router.get(
    "/matrix",
    response_model=Matrix,
    summary="All scores",
    responses={
        200: {
            "content": {
                "text/csv": {"schema": {"type": "string"}},
                MEDIA_TYPES[Format.NPZ]: {"schema": {"type": "string", "format": "binary"}},
                MEDIA_TYPES[Format.PARQUET]: {"schema": {"type": "string", "format": "binary"}},
            }
        }
    },
)
async def get_matrix(
    reads: ReadsOf,
    format_: Annotated[Format, Query(alias="format", description="json, csv, npz or parquet.")] = Format.JSON,
    values: Annotated[Values, Query(description="What a CSV holds; the other formats hold both.")] = Values.SAT,
) -> Response:
    """The whole matrix, streamed; the diagonal is self-fooling. It is rendered once a version, for all who ask."""
    snapshot = await reads.snapshot()
    # not of the bytes, which are never all in memory: of everything that they depend on
    entity_tag = tag(f"{_identity(snapshot)} {format_} {values}".encode())
    headers = {"ETag": entity_tag, "Cache-Control": "no-cache"}
    if matches(reads.request, entity_tag):
        return Response(status_code=304, headers=headers)
    if format_ is not Format.JSON:
        headers["Content-Disposition"] = f'attachment; filename="matrix.{format_}"'
    of = Rendered(snapshot.serial, (snapshot.comparison.name, format_, values))
    rendering = await reads.services.renderings.get(of, writer_of(read_matrix(snapshot), format_, values))
    return StreamingResponse(rendering.read(), media_type=MEDIA_TYPES[format_], headers=headers)


def _after(cursor: str | None) -> tuple[str, str]:
    match decode_cursor(cursor, list):
        case None:
            return "", ""
        case [str(a), str(b)]:
            return a, b
    raise InvalidError(FOREIGN)


def _identity(snapshot: Snapshot) -> str:
    """Everything that the matrix depends on, hashed."""

    def make() -> str:
        members = tuple((model.name, model.network and model.network.digest) for model in snapshot.members)
        return tag(repr((snapshot.comparison, members)).encode())

    return snapshot.once("matrix identity", make)


def _read_pair(services: Services, snapshot: Snapshot, a: str, b: str) -> Pair:
    with services.sessions.begin() as session:
        return Pair.of(read_pair(session, snapshot, a, b), snapshot)
