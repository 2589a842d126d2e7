"""GET /clusters."""

from typing import Annotated

from fastapi import APIRouter, Query, Response

from api.analyses import Wait, ask, find
from api.cache import make_body
from api.problems import RETRY_SECONDS
from api.reads import ReadsOf
from api.schemas.clusters import Clusters, Pending
from registry.analyses import is_fresh
from registry.errors import NotReadyError
from registry.reads.clusters import count_open_pairs, name_clusters, not_clusterable, require_so_many
from registry.tables import AnalysisKind

router = APIRouter(tags=["similarity"])


@router.get(
    "/clusters",
    response_model=Clusters,
    summary="Spectral clusters of all models",
    responses={202: {"model": Pending, "description": "Being computed: ask again after Retry-After seconds."}},
)
async def get_clusters(
    reads: ReadsOf,
    k: Annotated[int | None, Query(ge=1, le=1000, description="How many; left out: as many as fit best.")] = None,
    wait: Wait = 2.0,
) -> Response:
    """The clusters of this version, or those of an older one (`stale`) while newer ones are measured or computed."""
    services, snapshot = reads.services, await reads.snapshot()
    require_so_many(snapshot, k)
    missing = count_open_pairs(snapshot)
    if missing:
        # a worker could only say the same, and its answer would take the place of the older clusters
        older = await find(services, snapshot, AnalysisKind.CLUSTERS, {"k": k})
        if older is None or older.result is None:
            raise not_clusterable(snapshot, missing, services.watch.pace.estimate_seconds())
        row = older
    else:
        row = await ask(services, snapshot, AnalysisKind.CLUSTERS, {"k": k}, wait=wait)
    fresh = not missing and is_fresh(row, snapshot.comparison.version)
    if row.version is None or row.result is None:
        if fresh:
            raise NotReadyError(f"the clusters cannot be computed: {row.failure}")
        pending = Pending(status="pending", detail="a worker is computing the clusters: ask again in a moment.")
        body = make_body(pending.model_dump_json().encode())
        answer = body.respond(reads.request, status=202)
        answer.headers["Retry-After"] = RETRY_SECONDS
        return answer
    clusters = Clusters.of(name_clusters(snapshot, row.result), snapshot, version=row.version, missing=missing)
    body = make_body(clusters.model_dump_json().encode())
    if fresh:
        reads.keep(body, snapshot)
    return body.respond(reads.request)
