"""/gc and /doctor: what an administrator does now and then."""

import time
from dataclasses import asdict
from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.responses import Response

from api.schemas.upkeep import Examination, Finding, Swept
from api.services import ServicesOf
from registry.upkeep.doctor import examine
from registry.upkeep.gc import preview, retention_of, sweep
from registry.upkeep.verification import verify

router = APIRouter(tags=["operations"])
# A request that takes longer than proxies wait is of no use: the answer says that there is more.
SWEEP_SECONDS = 20.0
UNCACHED = {"Cache-Control": "no-store"}


@router.post("/gc", summary="Remove what is no longer needed")
def collect_garbage(
    services: ServicesOf,
    *,
    dry_run: Annotated[bool, Query(description="Only say what would go.")] = False,
) -> Swept:
    """Remove deleted models past their retention, and bytes that nothing has referred to for an hour.

    Workers do the same every few minutes. For some seconds; `more` says that something may be left.
    """
    retention = retention_of(services.settings)
    if dry_run:
        return Swept(more=False, **asdict(preview(services.sessions, services.store, retention)))
    deadline = time.monotonic() + SWEEP_SECONDS
    swept = sweep(services.sessions, services.store, retention, stopping=lambda: time.monotonic() > deadline)
    return Swept(more=time.monotonic() > deadline, **asdict(swept))


@router.get("/doctor", summary="What is inconsistent, and what to do")
def examine_registry(
    services: ServicesOf,
    response: Response,
    *,
    deep: Annotated[bool, Query(description="Read all bytes and all pairs, a page at a time.")] = False,
    after: Annotated[
        str | None, Query(max_length=100, description="Deep checks: the `next` of the page before.")
    ] = None,
) -> Examination:
    """Look for expired leases, missing bytes, lone results, forgotten work, full disks and more; changes nothing."""
    response.headers.update(UNCACHED)
    if not deep:
        found = examine(services.sessions, services.store, broker_answers=services.bell.reachable)
        return _answer([asdict(each) for each in found], 0, None)
    page = verify(services.sessions, services.store, after)
    return _answer([asdict(each) for each in page.findings], page.checked, page.next)


def _answer(findings: list[dict[str, str]], checked: int, following: str | None) -> Examination:
    listed = [Finding.model_validate(each) for each in findings]
    return Examination(healthy=not listed, findings=listed, checked=checked, next=following)
