"""/jobs and /workers: what is going on."""

from typing import Annotated

from fastapi import APIRouter, Path, Query, Request, Response

from api.access.actors import ActorOf
from api.cache import Body, make_body
from api.conditions import if_match, seen_states, stated_body
from api.paging import MOST_BIG_KEY, MOST_KEY, Cursor, Limit, decode_position, next_url
from api.schemas.base import Problem
from api.schemas.work import Job, JobPage, Worker, WorkerPage
from api.services import ReadSession, ServicesOf
from registry.declarations import WorkerChange
from registry.reads.jobs import Worker as WorkerRead
from registry.reads.jobs import find_worker, list_jobs, list_workers
from registry.tables import JobKind, JobState
from registry.workers import ask_worker, worker_state

router = APIRouter(tags=["work"])
WorkerId = Annotated[int, Path(ge=1, le=MOST_KEY)]


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
def list_all_workers(
    *,
    request: Request,
    session: ReadSession,
    everyone: Annotated[
        bool, Query(alias="all", description="Also those that have left, or were not heard of for an hour.")
    ] = False,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Response:
    """Worker processes; one that was not heard of for 15 s is not `alive`."""
    workers, total, more = list_workers(session, everyone=everyone, after=decode_position(cursor), limit=limit)
    answer = WorkerPage(
        items=[Worker.of(worker) for worker in workers],
        next=next_url(request, workers[-1].row.id) if more else None,
        total=total,
    )
    return make_body(answer.model_dump_json().encode()).respond(request)


@router.get(
    "/workers/{worker}",
    response_model=Worker,
    summary="One worker",
    responses={404: {"model": Problem}},
)
def get_worker(worker: WorkerId, request: Request, session: ReadSession) -> Response:
    """Where it works, on what, and what an operator wants of it."""
    return _body_of(find_worker(session, worker)).respond(request)


@router.patch(
    "/workers/{worker}",
    response_model=Worker,
    summary="Pause, resume or drain a worker",
    openapi_extra=if_match(),
    responses={status: {"model": Problem} for status in (404, 409, 412, 422)},
)
def patch_worker(
    worker: WorkerId, change: WorkerChange, request: Request, services: ServicesOf, actor: ActorOf
) -> Response:
    """A paused worker gives its job back after the result at hand; a drained one ends after its job.

    It claims nothing more from this answer on, and hears of it within some two seconds.
    """
    seen = seen_states(request)
    with services.writing() as session:
        ask_worker(session, worker, change.wish, seen=seen, actor=actor)
    with services.sessions.begin() as session:
        answer = _body_of(find_worker(session, worker))
    return Response(answer.content, media_type=answer.media_type, headers={"ETag": answer.tag})


def _body_of(found: WorkerRead) -> Body:
    return stated_body(worker_state(found.row), Worker.of(found).model_dump_json().encode())
