"""Checks of this registry beside schemathesis' own; its command line loads this module (SCHEMATHESIS_HOOKS)."""

import atexit
import json
import os
from collections import Counter
from pathlib import Path
from typing import Any

import schemathesis
from schemathesis import Case, CheckContext, HookContext, Response
from schemathesis.generation import GenerationMode

from tests.openapi.forms import form_that_succeeds
from tests.openapi.things import make_real

TALLY = "SAT_SCHEMATHESIS_TALLY"  # names the file that says how often each operation answered with which status
WAITING = {"GET /clusters", "GET /map", "GET /importance", "GET /recommend/ensemble"}
_answered: Counter[tuple[str, int]] = Counter()
MEMBERS = {"type", "title", "status", "detail", "request_id"}


@schemathesis.hook
def before_call(context: HookContext, case: Case, kwargs: dict[str, Any]) -> None:
    """Let most valid cases be about what is there, and nobody wait for an analysis: no worker is there."""
    if case.meta is None or case.meta.generation.mode != GenerationMode.POSITIVE:
        return
    if case.operation.label in WAITING:
        case.query["wait"] = 0
    make_real(case)
    form = form_that_succeeds(case.operation.label, case.body) if _is_form(case) else None
    if form is not None:
        case.body = form
        # as valid as it was made: schemathesis cannot check bytes against a schema, and would call it invalid
        case._record_starting_state()


@schemathesis.hook
def after_call(context: HookContext, case: Case, response: Response) -> None:
    """Count what came back."""
    _answered[case.operation.label, response.status_code] += 1


@atexit.register
def write_tally() -> None:
    """Say how often each operation answered with which status."""
    if TALLY in os.environ:
        lines = [f"{label}\t{status}\t{number}\n" for (label, status), number in sorted(_answered.items())]
        Path(os.environ[TALLY]).write_text("".join(lines), encoding="utf-8")


@schemathesis.check
def errors_are_problem_documents(ctx: CheckContext, response: Response, case: Case) -> None:
    """RFC 9457 on every error, with the request id of the header and a sentence of some length."""
    if response.status_code < 400 or _is_page(response):
        return
    assert _content_type(response) == "application/problem+json", _content_type(response)
    problem = response.json()
    assert set(problem) >= MEMBERS, f"{sorted(problem)} lacks {sorted(MEMBERS - set(problem))}"
    assert problem["status"] == response.status_code
    assert [problem["request_id"]] == response.headers["x-request-id"]
    assert len(problem["detail"]) > 15, problem["detail"]


@schemathesis.check
def the_schema_says_all_that_it_is_checked_for(ctx: CheckContext, response: Response, case: Case) -> None:
    """What the document calls valid is never refused by the rules that the document is made from."""
    if response.status_code != 422 or case.meta is None or case.meta.generation.mode != GenerationMode.POSITIVE:
        return
    if _is_form(case):  # the schema of the JSON inside a form's field is not followed
        return
    problem: Any = json.loads(response.content)
    by_schema = "is not as expected" in problem["detail"]  # as opposed to a well-formed request that makes no sense
    assert not by_schema, f"the document allows what is refused: {problem['errors']}"


@schemathesis.check
def nothing_of_the_inside_is_shown(ctx: CheckContext, response: Response, case: Case) -> None:
    """No traceback, no SQL, no file of the server in an answer."""
    text = (response.content or b"")[:100_000]
    for sign in (b"Traceback (most recent", b"psycopg", b"sqlalchemy", b"site-packages"):
        assert sign not in text, sign


def _is_form(case: Case) -> bool:
    return str(case.media_type).startswith("multipart/")


def _content_type(response: Response) -> str:
    return response.headers.get("content-type", [""])[0]


def _is_page(response: Response) -> bool:
    return _content_type(response).startswith("text/html")
