"""/audit: who changed what, for administrators (api/access/policy.py)."""

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from pydantic import AfterValidator

from api.cache import make_body
from api.paging import MOST_BIG_KEY, Cursor, Limit, decode_position, next_url
from api.schemas.naming import AuditEntry, AuditPage
from api.services import ReadSession
from registry.declarations import require_no_nul
from registry.reads.audit import list_audit

router = APIRouter(tags=["operations"])
Wanted = Annotated[str | None, Query(max_length=500), AfterValidator(lambda text: text and require_no_nul(text))]


@router.get("/audit", response_model=AuditPage, summary="Who changed what")
def list_all_audit(
    *,
    request: Request,
    session: ReadSession,
    action: Annotated[Wanted, Query(description="Such as model.delete, alias.move, key.create.")] = None,
    subject: Annotated[Wanted, Query(description="What was changed.")] = None,
    actor: Annotated[Wanted, Query(description="A key's name, or `local`.")] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Response:
    """Deletes, restores, changes, alias moves and keys, the newest first."""
    before = None if cursor is None else decode_position(cursor, most=MOST_BIG_KEY)
    found, total = list_audit(session, action=action, subject=subject, actor=actor, before=before, limit=limit)
    page = found[:limit]
    answer = AuditPage(
        items=[AuditEntry.model_validate(row) for row in page],
        next=next_url(request, page[-1].id) if len(found) > limit else None,
        total=total,
    )
    return make_body(answer.model_dump_json().encode()).respond(request)
