"""GET /map and GET /importance."""

from fastapi import APIRouter, Response

from api.analyses import Latest, Wait, answer, ask, latest
from api.reads import ReadsOf
from api.schemas.base import Problem
from api.schemas.clusters import Pending
from api.schemas.plane import Importance, Map
from registry.analyses import is_fresh
from registry.reads.plane import name_places
from registry.tables import AnalysisKind

router = APIRouter(
    tags=["similarity"],
    responses={
        202: {"model": Pending, "description": "Being computed: ask again after Retry-After seconds."},
        409: {"model": Problem},
        429: {"model": Problem},
    },
)


@router.get("/map", response_model=Map, summary="All models in the plane")
async def get_map(reads: ReadsOf, wait: Wait = 2.0) -> Response:
    """The map of this version, or of an older one (`stale`) while a newer one is measured or computed."""
    snapshot = await reads.snapshot()
    found = await latest(reads, snapshot, AnalysisKind.MAP, {}, what="the map's places", wait=wait)
    return answer(
        reads,
        snapshot,
        found,
        lambda result, version: Map.of(
            name_places(snapshot, result), snapshot, version=version, missing=found.missing, failure=found.row.failure
        ),
        what="the map",
    )


@router.get("/importance", response_model=Importance, summary="Which components matter")
async def get_importance(reads: ReadsOf, wait: Wait = 2.0) -> Response:
    """The importance of the 13 components for SAT, from all pairs that are measured, with the quality of its fit."""
    snapshot = await reads.snapshot()
    row = await ask(reads, snapshot, AnalysisKind.IMPORTANCE, {}, wait=wait)
    found = Latest(row=row, missing=0, fresh=is_fresh(row, snapshot.comparison.version))
    return answer(
        reads,
        snapshot,
        found,
        lambda result, version: Importance.of(result, snapshot, version=version, failure=row.failure),
        what="the importance of components",
    )
