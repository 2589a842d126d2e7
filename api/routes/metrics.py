"""/metrics: for Prometheus."""

from fastapi import APIRouter, Response

from api.services import ServicesOf

router = APIRouter(tags=["operations"])
MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"


@router.get(
    "/metrics",
    summary="Metrics in the Prometheus text format",
    response_class=Response,
    responses={200: {"content": {"text/plain": {}}, "description": "The exposition format, version 0.0.4."}},
)
def get_metrics(services: ServicesOf) -> Response:
    """Requests, jobs, workers, cells, queue age, lease losses, GPU memory, artifact bytes."""
    return Response(services.metrics.text(), headers={"Content-Type": MEDIA_TYPE, "Cache-Control": "no-store"})
