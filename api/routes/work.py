"""/jobs and /workers: what is going on."""

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from api.cache import make_body
from api.paging import MOST_BIG_KEY, Cursor, Limit, decode_position, next_url
from api.schemas.work import Job, JobPage, Worker, WorkerPage
from api.services import ReadSession, ServicesOf
from registry.reads.jobs import list_jobs, list_workers
from registry.tables import JobKind, JobState

router = APIRouter(tags=["work"])


@router.get("/jobs", response_model=JobPage, summary="What is being done, and what waits")
def list_all_jobs(
    *,
    request: Request,
    services: ServicesOf,
    session: ReadSession,
    state: Annotated[JobState | None, Query(description="Left out: queued, running and failed.")] = None,
    kind: Annotated[JobKind | None, Query(description="prepare, evaluate, attack, transfers or analyse.")] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Response:
    """Jobs, counts of all by state and kind, and how long it will take."""
    found = list_jobs(session, state=state, kind=kind, after=decode_position(cursor, most=MOST_BIG_KEY), limit=limit)
    names = {comparison.id: comparison.name for comparison in services.watch.view().zoo.comparisons}
    answer = JobPage(
        items=[Job.of(job, names) for job in found.items],
        next=next_url(request, found.items[-1].row.id) if found.more else None,
        total=found.total,
        counts={each: dict(kinds) for each, kinds in found.counts.items()},
        estimate_seconds=services.watch.estimate_seconds(),
    )
    return make_body(answer.model_dump_json().encode()).respond(request)


@router.get("/workers", response_model=WorkerPage, summary="Who works, where, on what")
def list_all_workers(request: Request, session: ReadSession, limit: Limit = 50, cursor: Cursor = None) -> Response:
    """Worker processes, those that have gone included (`alive` is false)."""
    workers, total, more = list_workers(session, after=decode_position(cursor), limit=limit)
    answer = WorkerPage(
        items=[Worker.of(worker) for worker in workers],
        next=next_url(request, workers[-1].row.id) if more else None,
        total=total,
    )
    return make_body(answer.model_dump_json().encode()).respond(request)
