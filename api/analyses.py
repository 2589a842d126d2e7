"""Answers that a light job computes: asked for, waited for a little, and served older where they are."""

import time
from collections.abc import Mapping
from typing import Annotated, Any

import anyio
from fastapi import Query
from fastapi.concurrency import run_in_threadpool

from api.services import Services
from registry.analyses import find_analysis, is_fresh, request_analysis
from registry.database import transaction
from registry.reads.snapshot import Snapshot
from registry.tables import AnalysisKind, AnalysisRow

POLL_SECONDS = 0.05
Parameters = Mapping[str, Any]
Wait = Annotated[float, Query(ge=0, le=10, description="Seconds to wait for the light job that computes the answer.")]


async def ask(
    services: Services, snapshot: Snapshot, kind: AnalysisKind, parameters: Parameters, *, wait: float
) -> AnalysisRow:
    """The analysis as it is when it is fresh, or after `wait` seconds; a job is asked for unless it is fresh."""
    deadline = time.monotonic() + wait
    comparison = snapshot.comparison

    def request() -> AnalysisRow:
        with transaction(services.sessions, services.bell.ring) as session:
            return request_analysis(session, comparison.id, kind, dict(parameters))

    row = await run_in_threadpool(request)
    while not is_fresh(row, comparison.version) and time.monotonic() < deadline:
        await anyio.sleep(POLL_SECONDS)
        row = await find(services, snapshot, kind, parameters) or row
    return row


async def find(
    services: Services, snapshot: Snapshot, kind: AnalysisKind, parameters: Parameters
) -> AnalysisRow | None:
    """The analysis as it was recorded last, or None; nothing is asked for."""

    def look() -> AnalysisRow | None:
        with services.sessions.begin() as session:
            return find_analysis(session, snapshot.comparison.id, kind, dict(parameters))

    return await run_in_threadpool(look)
