"""/healthz and /readyz."""

from fastapi import APIRouter, Response
from sqlalchemy.exc import SQLAlchemyError

from api.schemas.health import Health, Readiness
from api.services import Services, ServicesOf
from registry.database import foreign_revision

router = APIRouter(tags=["operations"])
OK = "ok"


@router.get("/healthz", summary="The process answers")
async def get_health() -> Health:
    """Says nothing of the database: a process that waits for it need not be restarted."""
    return Health()


@router.get(
    "/readyz",
    summary="The process has what it needs",
    responses={503: {"model": Readiness, "description": "The database is down, or of another version."}},
)
def get_readiness(services: ServicesOf, response: Response) -> Readiness:
    """503 without the database. Without the broker it is degraded: workers find new work a little later."""
    checks = _check_database(services) | {"broker": OK if services.bell.reachable() else "does not answer"}
    response.headers["Cache-Control"] = "no-store"
    if checks["database"] != OK or checks["migrations"] != OK:
        response.status_code = 503
        return Readiness(status="unavailable", checks=checks)
    return Readiness(status="ready" if checks["broker"] == OK else "degraded", checks=checks)


def _check_database(services: Services) -> dict[str, str]:
    try:
        with services.sessions.begin() as session:
            foreign = foreign_revision(session)
    except SQLAlchemyError:
        return {"database": "does not answer", "migrations": "unknown"}
    return {"database": OK, "migrations": foreign or OK}
