"""Answers that a light job computes: asked for, waited for a little, and served older where they are."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Query, Response
from fastapi.concurrency import run_in_threadpool
from pydantic import BaseModel

from api.access.actors import actor_of
from api.cache import make_body
from api.problems import RETRY_SECONDS
from api.reads import Reads
from api.schemas.clusters import Pending
from api.services import Services
from registry.analyses import find_analysis, is_fresh, key_of, request_analysis
from registry.database import transaction
from registry.errors import NotReadyError, TooManyError
from registry.reads.clusters import count_open_pairs, pairs_missing
from registry.reads.snapshot import Snapshot
from registry.tables import AnalysisKind, AnalysisRow

Parameters = Mapping[str, Any]
Wait = Annotated[float, Query(ge=0, le=10, description="Seconds to wait for the light job that computes the answer.")]


async def ask(
    reads: Reads, snapshot: Snapshot, kind: AnalysisKind, parameters: Parameters, *, wait: float
) -> AnalysisRow:
    """The analysis as it is when it is fresh, or after `wait` seconds; a job is asked for unless it is fresh.

    TooManyError where too many wait already, or the key has asked too many questions that nobody asked before.
    """
    services, comparison, asker = reads.services, snapshot.comparison, actor_of(reads.request.scope).name

    def admit() -> None:
        seconds = services.questions.hit(asker)
        if seconds is not None:
            raise TooManyError(
                f"this key has asked {services.questions.per_minute} new questions within a minute: go on in "
                f"{seconds} s. What was asked before is answered meanwhile."
            )

    def request() -> AnalysisRow:
        with transaction(services.sessions, services.bell.ring) as session:
            return request_analysis(session, comparison.id, kind, dict(parameters), admit)

    row = await run_in_threadpool(request)
    if is_fresh(row, comparison.version) or not wait:
        return row
    key = key_of(comparison.id, kind, dict(parameters))
    return (
        await services.waiters.wait(key, comparison.version, wait)
        or await find(services, snapshot, kind, parameters)
        or row
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Latest:
    """The newest result of an analysis. missing: pairs that a newer one waits for; fresh: there is none newer."""

    row: AnalysisRow
    missing: int
    fresh: bool


async def latest(
    reads: Reads, snapshot: Snapshot, kind: AnalysisKind, parameters: Parameters, *, what: str, wait: float
) -> Latest:
    """The newest result of an analysis that needs every pair; `what` names it.

    NotReadyError when pairs are missing and there is no older result.
    """
    missing = count_open_pairs(snapshot)
    if not missing:
        row = await ask(reads, snapshot, kind, parameters, wait=wait)
        return Latest(row=row, missing=0, fresh=is_fresh(row, snapshot.comparison.version))
    # a worker could only say the same
    older = await find(reads.services, snapshot, kind, parameters)
    if older is None or older.result is None:
        raise pairs_missing(snapshot, missing, what, reads.services.watch.pace.estimate_seconds())
    return Latest(row=older, missing=missing, fresh=False)


def answer(
    reads: Reads, snapshot: Snapshot, found: Latest, make: Callable[[Mapping[str, Any], int], BaseModel], *, what: str
) -> Response:
    """The result as `make` shows it, given its version; 202 while there is none yet, NotReadyError where none can be.

    A fresh one is kept for those who ask the same.
    """
    row = found.row
    if row.version is None or row.result is None:
        if found.fresh:
            raise NotReadyError(f"{what} cannot be computed: {row.failure}")
        pending = Pending(status="pending", detail=f"a worker is computing {what}: ask again in a moment.")
        response = make_body(pending.model_dump_json().encode()).respond(reads.request, status=202)
        response.headers["Retry-After"] = RETRY_SECONDS
        return response
    body = make_body(make(row.result, row.version).model_dump_json().encode())
    if found.fresh and row.failure is None:
        reads.keep(body, snapshot)
    return body.respond(reads.request)


async def find(
    services: Services, snapshot: Snapshot, kind: AnalysisKind, parameters: Parameters
) -> AnalysisRow | None:
    """The analysis as it was recorded last, or None; nothing is asked for."""

    def look() -> AnalysisRow | None:
        with services.sessions.begin() as session:
            return find_analysis(session, snapshot.comparison.id, kind, dict(parameters))

    return await run_in_threadpool(look)
