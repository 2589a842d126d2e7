"""Idempotency-Key on POST (after the IETF's draft): the same request is done once, and answered alike for a day.

Nothing is noted before the work: the row that says that it was done is committed with it (`Once.done`). A process that
dies before has done nothing, one that dies after finds the row. Two processes that do the same at once meet at that
row, and one of them takes its work back.
"""

import logging
import re
from collections.abc import Mapping

from fastapi.concurrency import run_in_threadpool
from sqlalchemy.exc import SQLAlchemyError
from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.access.actors import actor_of
from api.idempotency.once import ENTRY, Once
from api.idempotency.request_hash import RequestHash
from api.problems import RETRY_SECONDS, problem
from api.services import Services
from registry.errors import UnavailableError
from registry.idempotency import Settled, Ticket, find_settled, keep_answer
from registry.reads.outage import explain

_log = logging.getLogger(__name__)
HEADER = "idempotency-key"
REPLAYED = "Idempotency-Replayed"
_KEY = re.compile(r"[\x21-\x7e]{1,255}")
# An answer about one thing; a longer one is made anew from its Location.
MOST_KEPT_BYTES = 2**20
# of an answer, what its repetition has too
_KEPT_HEADERS = frozenset({"content-type", "location", "retry-after"})
_NO_ANSWER = frozenset({"/session"})  # it creates nothing, and its answer is a secret


class Idempotency:
    """Answers a request that was done before, and lets any other be done once."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._running: set[tuple[str, str]] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        key = Headers(scope=scope).get(HEADER) if _creates(scope) else None
        if key is None:
            await self._app(scope, receive, send)
            return
        if not _KEY.fullmatch(key):
            detail = "`Idempotency-Key` needs 1 to 255 visible ASCII characters; a UUID will do."
            await problem(422, "Unprocessable", detail)(scope, receive, send)
            return
        mine = (actor_of(scope).team, key)
        if mine in self._running:
            detail = "the request with this Idempotency-Key is still being done: wait a moment, then send it again."
            await problem(409, "Conflict", detail, headers={"Retry-After": RETRY_SECONDS})(scope, receive, send)
            return
        self._running.add(mine)
        try:
            await self._once(mine, scope, receive, send)
        finally:
            self._running.discard(mine)

    async def _once(self, mine: tuple[str, str], scope: Scope, receive: Receive, send: Send) -> None:
        services: Services = scope["app"].state.services
        request = RequestHash(scope, receive)
        try:
            settled = await run_in_threadpool(_find, services, *mine)
        except UnavailableError as error:
            answer = problem(error.status, error.title, error.detail, headers={"Retry-After": RETRY_SECONDS})
            await answer(scope, receive, send)
            return
        if settled is not None:
            sha256 = await request.read_whole()
            answer = await self._repeat(scope, settled) if sha256 == settled.sha256 else _other_request()
            await answer(scope, receive, send)
            return
        once, kept = Once(), _Answer(send)

        def hashed(sha256: bytes) -> None:
            once.ticket = Ticket(*mine, sha256)

        request.on_end = hashed
        # a body of metadata is in memory already; a file's is hashed while the route reads it
        if not request.is_form:
            await request.read_ahead()
        scope[ENTRY] = once
        await self._app(scope, request.receive, kept.send)
        if once.ticket is not None and kept.is_good and len(kept.body) <= MOST_KEPT_BYTES:
            await run_in_threadpool(_keep, services, once.ticket, kept.headers, bytes(kept.body))

    async def _repeat(self, scope: Scope, settled: Settled) -> Response:
        """The answer as it was; from its Location where the process that made it did not live to keep it."""
        headers = {**settled.headers, REPLAYED: "true"}
        location = settled.headers.get("Location") or settled.headers.get("location")
        if settled.body or location is None:
            return Response(settled.body, status_code=settled.status, headers=headers)
        shown = _Answer(None)
        await self._app(_reading(scope, location), _nothing, shown.send)
        if not shown.is_good:
            return Response(bytes(shown.body), status_code=shown.status, headers=shown.headers)
        return Response(bytes(shown.body), status_code=settled.status, headers={**shown.headers, **headers})


class _Answer:
    """Follows an answer on its way out. send: where it goes; None: nowhere."""

    def __init__(self, send: Send | None) -> None:
        self._send = send
        self.status = 0
        self.headers: dict[str, str] = {}
        self.body = bytearray()

    @property
    def is_good(self) -> bool:
        return 200 <= self.status < 300  # noqa: PLR2004  HTTP's good answers

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = Headers(raw=message["headers"]).items()
            self.headers = {name: value for name, value in headers if name in _KEPT_HEADERS}
        elif len(self.body) <= MOST_KEPT_BYTES:
            self.body += message.get("body", b"")
        if self._send is not None:
            await self._send(message)


def _creates(scope: Scope) -> bool:
    return scope["type"] == "http" and scope["method"] == "POST" and scope["path"] not in _NO_ANSWER


def _reading(scope: Scope, path: str) -> Scope:
    headers = [(name, value) for name, value in scope["headers"] if name in {b"host", b"accept"}]
    return {**scope, "method": "GET", "path": path, "raw_path": path.encode(), "query_string": b"", "headers": headers}


async def _nothing() -> Message:
    return {"type": "http.request", "body": b"", "more_body": False}


def _other_request() -> Response:
    detail = "this Idempotency-Key came with another request before: take a new key for a new request."
    return problem(422, "Unprocessable", detail)


def _find(services: Services, caller: str, key: str) -> Settled | None:
    try:
        with services.sessions.begin() as session:
            return find_settled(session, caller, key)
    except SQLAlchemyError as error:
        raise explain(error) or error from error


def _keep(services: Services, ticket: Ticket, headers: Mapping[str, str], body: bytes) -> None:
    try:
        with services.sessions.begin() as session:
            keep_answer(session, ticket, headers, body)
    except SQLAlchemyError:
        _log.warning("an answer could not be kept: a repeated request is answered from its Location")
