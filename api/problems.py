"""Errors as application/problem+json (RFC 9457): one handler a kind, and nothing of the program's inside."""

import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from contextvars import ContextVar
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import iter_route_contexts
from pydantic import ValidationError
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, InternalError, OperationalError, ProgrammingError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from starlette.exceptions import HTTPException
from starlette.routing import Route, compile_path

from registry.errors import (
    InvalidError,
    NotReadyError,
    RegistryError,
    RunningError,
    TooLargeError,
    TooManyError,
    TooSlowError,
    UnavailableError,
)
from registry.reads.outage import explain
from sat_engine.errors import EngineError

MEDIA_TYPE = "application/problem+json"
RETRY_SECONDS = "1"
# of the request that is being answered: entered by the outermost layer, and carried along into threads
request_id: ContextVar[str | None] = ContextVar("request_id", default=None)
# of what is wrong with one request, what is listed; each in so many characters
MAX_ERRORS, MAX_CHARACTERS = 20, 500
_log = logging.getLogger(__name__)


def problem(
    status: int, title: str, detail: str, extras: Mapping[str, object] = {}, headers: Mapping[str, str] = {}
) -> Response:
    """A problem document; detail says what to do. It carries the request's id, under which the log knows it."""
    content = {"type": "about:blank", "title": title, "status": status, "detail": detail}
    content |= {"request_id": known} if (known := request_id.get()) else {}
    content |= extras
    # half a surrogate, which a client's text may hold, goes back as the JSON escape that it came as
    body = json.dumps(content, ensure_ascii=False, default=list).encode(errors="backslashreplace")
    return Response(body, status_code=status, media_type=MEDIA_TYPE, headers=dict(headers))


def invalid(what: str, errors: Sequence[Mapping[str, Any]]) -> InvalidError:
    """The 422 of pydantic's errors, the first of them as {where, message}."""
    listed = [
        {"where": _where(error["loc"])[:MAX_CHARACTERS], "message": _message(error)[:MAX_CHARACTERS]}
        for error in errors[:MAX_ERRORS]
    ]
    shown = "; ".join(f"{each['where']}: {each['message']}" for each in listed[:3])
    more = f" (and {len(errors) - 3} more)" if len(errors) > 3 else ""  # noqa: PLR2004  as many as are shown
    return InvalidError(f"{what} is not as expected: {shown}{more}.", errors=listed)


def install(app: FastAPI) -> None:
    """Answer every error with a problem document."""

    @app.exception_handler(RegistryError)
    async def refused(_request: Request, error: RegistryError) -> Response:
        return _from_registry(error)

    @app.exception_handler(RequestValidationError)
    async def unreadable(_request: Request, error: RequestValidationError) -> Response:
        if any(each["type"] == "json_invalid" for each in error.errors()):
            return _from_registry(InvalidError("the body is no valid JSON: check quotes, commas and brackets."))
        return _from_registry(invalid("the request", error.errors()))

    @app.exception_handler(ValidationError)
    async def malformed(_request: Request, error: ValidationError) -> Response:
        return _from_registry(invalid("the request", error.errors(include_url=False, include_context=False)))

    @app.exception_handler(EngineError)
    async def not_computable(_request: Request, error: EngineError) -> Response:
        return _from_registry(InvalidError(str(error)))

    @app.exception_handler(HTTPException)
    async def unroutable(request: Request, error: HTTPException) -> Response:
        return _from_http(request, error)

    _install_for_database(app)


def _install_for_database(app: FastAPI) -> None:
    """Answer what the database cannot do, or refuses."""

    @app.exception_handler(OperationalError)
    @app.exception_handler(InternalError)
    @app.exception_handler(IntegrityError)
    @app.exception_handler(PoolTimeoutError)
    @app.exception_handler(ProgrammingError)
    async def database_cannot(_request: Request, error: DBAPIError | PoolTimeoutError) -> Response:
        unavailable = explain(error)
        if unavailable is None:
            raise error
        if isinstance(error, IntegrityError):
            _log.warning("a change crossed another: %s", error.orig)
        return _from_registry(unavailable)

    @app.exception_handler(DataError)
    async def not_storable(_request: Request, error: DataError) -> Response:
        # declarations refuse what a column cannot hold; this is for the value that one of them forgot
        _log.warning("the database refused a value: %s", error.orig)
        detail = "a value in the request cannot be stored: text must not hold U+0000, and numbers have bounds."
        return _from_registry(InvalidError(detail))


def _from_registry(error: RegistryError) -> Response:
    headers = {}
    if isinstance(error, NotReadyError | RunningError | TooManyError | UnavailableError):
        headers["Retry-After"] = RETRY_SECONDS
    if isinstance(error, TooLargeError | TooSlowError):
        headers["Connection"] = "close"  # the rest of the body is not read
    return problem(error.status, error.title, error.detail, error.extras, headers)


def _from_http(request: Request, error: HTTPException) -> Response:
    status, path = HTTPStatus(error.status_code), request.url.path
    if status is HTTPStatus.BAD_REQUEST:  # the framework's word for bytes that it cannot decode
        return _from_registry(InvalidError("the body is no JSON: check that it is text in UTF-8."))
    detail = {
        HTTPStatus.NOT_FOUND: f"there is no {path}: GET /docs shows all routes.",
        HTTPStatus.METHOD_NOT_ALLOWED: f"{path} does not take {request.method}: GET /docs shows what it takes.",
    }.get(status, str(error.detail))
    headers = dict(error.headers or {})
    if status is HTTPStatus.METHOD_NOT_ALLOWED:
        headers["Allow"] = ", ".join(_methods_of(request))
    return problem(status, status.phrase, detail, headers=headers)


def _methods_of(request: Request) -> list[str]:
    """What the path takes; the framework names the methods of the first of its routes alone."""
    path, methods = request.scope["path"], set()
    for route in iter_route_contexts(request.app.router.routes):
        if route.path is not None and isinstance(route.original_route, Route):
            pattern, _, _ = compile_path(route.path)
            methods |= set(route.original_route.methods or ()) if pattern.match(path) else set()
    return sorted(methods)


def _where(location: Iterable[object]) -> str:
    parts = [str(part) for part in location]
    return ".".join(parts[1:] if parts[:1] == ["body"] and len(parts) > 1 else parts) or "body"


def _message(error: Mapping[str, Any]) -> str:
    if error["type"] == "extra_forbidden":
        return "there is no such field"
    return str(error["msg"]).removeprefix("Value error, ")
