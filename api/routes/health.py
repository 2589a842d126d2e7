"""/healthz and /readyz."""

from fastapi import APIRouter, Response
from sqlalchemy.exc import SQLAlchemyError

from api.problems import RETRY_SECONDS, problem
from api.schemas.health import Health, Readiness
from api.services import Services, ServicesOf
from registry.database import foreign_revision
from registry.errors import UnavailableError

router = APIRouter(tags=["operations"])
OK = "ok"
FRESH = {"Cache-Control": "no-store"}


@router.get("/healthz", summary="The process answers")
async def get_health() -> Health:
    """Says nothing of the database: a process that waits for it need not be restarted."""
    return Health()


@router.get("/readyz", response_model=Readiness, summary="The process has what it needs")
def get_readiness(services: ServicesOf) -> Response:
    """503 without the database, or on one of another version; `checks` in it says which.

    Without the broker it is degraded: workers find new work a little later.
    """
    checks = _check_database(services) | {"broker": OK if services.bell.reachable() else "does not answer"}
    if checks["database"] != OK or checks["migrations"] != OK:
        wrong = checks["migrations"] if checks["database"] == OK else "the database does not answer: start it."
        return problem(503, UnavailableError.title, wrong, {"checks": checks}, {"Retry-After": RETRY_SECONDS, **FRESH})
    answer = Readiness(status="ready" if checks["broker"] == OK else "degraded", checks=checks)
    return Response(answer.model_dump_json(), media_type="application/json", headers=FRESH)


def _check_database(services: Services) -> dict[str, str]:
    try:
        with services.sessions.begin() as session:
            foreign = foreign_revision(session)
    except SQLAlchemyError:
        return {"database": "does not answer", "migrations": "unknown"}
    return {"database": OK, "migrations": foreign or OK}
