"""GET /pairs/<a>/<b> and GET /matrix."""

import csv
import io
import json
from collections.abc import Iterator
from enum import StrEnum
from typing import Annotated

from fastapi import APIRouter, Query, Response
from fastapi.responses import StreamingResponse

from api.cache import matches, tag
from api.reads import ReadsOf
from api.routes.similar import Reference
from api.schemas.pairs import Matrix, Pair
from api.services import Services
from registry.reads.matrix import Matrix as MatrixRead
from registry.reads.matrix import read_matrix
from registry.reads.pairs import read_pair
from registry.reads.snapshot import Snapshot

router = APIRouter(tags=["similarity"])
DECIMALS = 6


class Format(StrEnum):
    """How the matrix is written."""

    JSON = "json"
    CSV = "csv"


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
    responses={200: {"content": {"text/csv": {"schema": {"type": "string"}}}}},
)
async def get_matrix(
    reads: ReadsOf, format_: Annotated[Format, Query(alias="format", description="json or csv.")] = Format.JSON
) -> Response:
    """The whole matrix, streamed row by row; the diagonal is self-fooling."""
    snapshot = await reads.snapshot()
    comparison = snapshot.comparison
    # not of the bytes, which are never all in memory: of everything that they depend on
    what = (comparison, tuple((model.name, model.network and model.network.digest) for model in snapshot.members))
    entity_tag = tag(repr((what, format_)).encode())
    headers = {"ETag": entity_tag, "Cache-Control": "no-cache"}
    if matches(reads.request, entity_tag):
        return Response(status_code=304, headers=headers)
    matrix = read_matrix(snapshot)
    if format_ is Format.CSV:
        return StreamingResponse(_csv(matrix), media_type="text/csv", headers=headers)
    return StreamingResponse(_json(snapshot, matrix), media_type="application/json", headers=headers)


def _read_pair(services: Services, snapshot: Snapshot, a: str, b: str) -> Pair:
    with services.sessions.begin() as session:
        return Pair.of(read_pair(session, snapshot, a, b), snapshot)


def _csv(matrix: MatrixRead) -> Iterator[str]:
    line = io.StringIO()
    writer = csv.writer(line, lineterminator="\n")
    writer.writerow(["model", *matrix.models])
    yield line.getvalue()
    for name, sat, _ in matrix.rows():
        line.seek(0)
        line.truncate()
        writer.writerow([name, *("" if value is None else f"{value:.{DECIMALS}f}" for value in sat)])
        yield line.getvalue()


def _json(snapshot: Snapshot, matrix: MatrixRead) -> Iterator[str]:
    head = {
        "comparison": snapshot.comparison.name,
        "version": snapshot.comparison.version,
        "models": matrix.models,
        "missing": matrix.missing,
    }
    yield json.dumps(head).removesuffix("}") + ', "sat": ['
    for index, (_, sat, _) in enumerate(matrix.rows()):
        row = [None if value is None else round(value, DECIMALS) for value in sat]
        yield ("," if index else "") + json.dumps(row)
    yield '], "obtained": ['
    for index, (_, _, obtained) in enumerate(matrix.rows()):
        yield ("," if index else "") + json.dumps(obtained)
    yield "]}"
