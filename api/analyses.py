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
Wait = Annotated[float, Query(ge=0, le=10, description="Seconds to wait for the light job that computes the answer.")]


async def ask(
    services: Services, snapshot: Snapshot, kind: AnalysisKind, parameters: Mapping[str, Any], *, wait: float
) -> AnalysisRow:
    """The analysis as it is when it is fresh, or after `wait` seconds; a job is asked for unless it is fresh."""
    deadline = time.monotonic() + wait
    comparison = snapshot.comparison

    def request() -> AnalysisRow:
        with transaction(services.sessions, services.bell.ring) as session:
            return request_analysis(session, comparison.id, kind, dict(parameters))

    def look() -> AnalysisRow:
        with services.sessions.begin() as session:
            found = find_analysis(session, comparison.id, kind, dict(parameters))
            assert found is not None  # nobody deletes what was asked for
            return found

    row = await run_in_threadpool(request)
    while not is_fresh(row, comparison.version) and time.monotonic() < deadline:
        await anyio.sleep(POLL_SECONDS)
        row = await run_in_threadpool(look)
    return row
