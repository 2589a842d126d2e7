"""GET /clusters."""

from typing import Annotated

from fastapi import APIRouter, Query, Response

from api.analyses import Wait, answer, latest
from api.reads import ReadsOf
from api.schemas.base import Problem
from api.schemas.clusters import Clusters, Pending
from registry.reads.clusters import name_clusters, require_so_many
from registry.tables import AnalysisKind

router = APIRouter(tags=["similarity"])


@router.get(
    "/clusters",
    response_model=Clusters,
    summary="Spectral clusters of all models",
    responses={
        202: {"model": Pending, "description": "Being computed: ask again after Retry-After seconds."},
        409: {"model": Problem},
        429: {"model": Problem},
    },
)
async def get_clusters(
    reads: ReadsOf,
    k: Annotated[int | None, Query(ge=1, le=1000, description="How many; left out: as many as fit best.")] = None,
    wait: Wait = 2.0,
) -> Response:
    """The clusters of this version, or those of an older one (`stale`) while newer ones are measured or computed."""
    snapshot = await reads.snapshot()
    require_so_many(snapshot, k)
    found = await latest(reads, snapshot, AnalysisKind.CLUSTERS, {"k": k}, what="clusters", wait=wait)
    return answer(
        reads,
        snapshot,
        found,
        lambda result, version: Clusters.of(
            name_clusters(snapshot, result), snapshot, version=version, missing=found.missing, failure=found.row.failure
        ),
        what="the clusters",
    )
