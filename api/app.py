"""The application: routes, errors, and one stack of ASGI layers around them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import PackageNotFoundError, version

from fastapi import FastAPI
from fastapi.concurrency import run_in_threadpool
from starlette.middleware import Middleware

from api import documentation, openapi, problems
from api.access.layer import Access
from api.bodies import BodyLimit
from api.edge import KnownHosts, RequestLog
from api.headers import SecureHeaders
from api.heads import Heads
from api.hot import HotAnswers
from api.idempotency.layer import Idempotency
from api.routes import (
    agreement,
    aliases,
    audit,
    cards,
    changes,
    clusters,
    comparisons,
    events,
    health,
    image_sets,
    keys,
    metrics,
    models,
    pairs,
    plan,
    plane,
    protocols,
    recommend,
    session,
    similar,
    start,
    upkeep,
    uploads,
    webhooks,
    work,
)
from api.services import make_services
from api.stopping import StopNotice
from api.traffic import Meter, Traffic
from registry.settings import Settings


def create_app(settings: Settings) -> FastAPI:
    """The application; connections and threads begin and end with its lifespan."""
    traffic = Traffic()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        services = make_services(settings, traffic)
        app.state.services = services
        services.watch.start()
        try:
            yield
        finally:
            await services.waiters.end()
            await run_in_threadpool(services.close)

    app = FastAPI(
        title="SAT Registry",
        version=_version(),
        description=openapi.DESCRIPTION,
        openapi_tags=openapi.TAGS,
        generate_unique_id_function=openapi.operation_id,
        lifespan=lifespan,
        docs_url=None,
        redirect_slashes=False,  # it would send clients to whatever the Host header names
        redoc_url=None,
        # outermost first; who may ask is decided right after the host, outside everything that answers
        middleware=[
            Middleware(Meter, traffic=traffic),
            Middleware(SecureHeaders),
            Middleware(RequestLog),
            Middleware(StopNotice),
            Middleware(KnownHosts, allowed=settings.allowed_hosts),
            Middleware(Access, mode=settings.keys),
            Middleware(BodyLimit, stall_seconds=settings.stall_seconds),
            Middleware(Heads),
            Middleware(Idempotency),
            Middleware(HotAnswers),
        ],
    )
    for noun in (
        models,
        plan,
        plane,
        changes,
        cards,
        events,
        webhooks,
        aliases,
        audit,
        similar,
        pairs,
        agreement,
        clusters,
        recommend,
        image_sets,
        protocols,
        comparisons,
        uploads,
        work,
        keys,
        session,
        health,
        upkeep,
        metrics,
        start,
    ):
        app.include_router(noun.router)
    problems.install(app)
    openapi.install(app)
    documentation.install(app)
    return app


def _version() -> str:
    try:
        return version("sat-registry")
    except PackageNotFoundError:
        return "0"
