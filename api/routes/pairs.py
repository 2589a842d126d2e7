"""GET /pairs/<a>/<b> and GET /matrix."""

from typing import Annotated

from fastapi import APIRouter, Query, Response
from fastapi.responses import StreamingResponse

from api.cache import matches, tag
from api.matrix_formats import MEDIA_TYPES, Format, Values, writer_of
from api.reads import ReadsOf
from api.renderings import Rendered
from api.routes.similar import Reference
from api.schemas.pairs import Matrix, Pair
from api.services import Services
from registry.reads.matrix import read_matrix
from registry.reads.pairs import read_pair
from registry.reads.snapshot import Snapshot

router = APIRouter(tags=["similarity"])


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


def _identity(snapshot: Snapshot) -> str:
    """Everything that the matrix depends on, hashed."""

    def make() -> str:
        members = tuple((model.name, model.network and model.network.digest) for model in snapshot.members)
        return tag(repr((snapshot.comparison, members)).encode())

    return snapshot.once("matrix identity", make)


def _read_pair(services: Services, snapshot: Snapshot, a: str, b: str) -> Pair:
    with services.sessions.begin() as session:
        return Pair.of(read_pair(session, snapshot, a, b), snapshot)
