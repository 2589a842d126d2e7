"""Requests under an Idempotency-Key, and what they were answered: kept for a day, written where the work is."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import ColumnElement, delete, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from registry.errors import RunningError
from registry.tables import IdempotencyRow

KEPT = timedelta(days=1)
_SWEPT_AT_ONCE = 100


@dataclass(frozen=True, slots=True)
class Ticket:
    """A request that must be done once. sha256: of its method, path and body."""

    caller: str
    key: str
    sha256: bytes


@dataclass(frozen=True, slots=True)
class Settled:
    """What was done under a key. body: empty until the answer went out; the Location makes it anew."""

    sha256: bytes
    status: int
    headers: Mapping[str, str]
    body: bytes


def find_settled(session: Session, caller: str, key: str) -> Settled | None:
    """What was done under this key within a day."""
    row = session.scalars(select(IdempotencyRow).where(_is(caller, key), ~_is_old())).one_or_none()
    if row is None or row.status is None or row.body is None:
        return None
    return Settled(row.request_sha256, row.status, row.headers or {}, row.body)


def settle(session: Session, ticket: Ticket, status: int, headers: Mapping[str, str], body: bytes) -> None:
    """Enter what is about to be done, in the transaction that does it.

    Raises RunningError where another process has just done it: it waited for that one's commit. Nothing is done twice.
    """
    values = {
        "request_sha256": ticket.sha256,
        "status": status,
        "headers": dict(headers),
        "body": body,
        "created_at": func.now(),
    }
    entered = session.execute(
        insert(IdempotencyRow)
        .values(caller=ticket.caller, key=ticket.key, **values)
        .on_conflict_do_update(index_elements=["caller", "key"], set_=values, where=_is_old())
        .returning(IdempotencyRow.status)
    ).scalar_one_or_none()
    if entered is None:
        raise RunningError("the same request was just done elsewhere: send it again, for its answer.")
    _sweep(session)


def keep_answer(session: Session, ticket: Ticket, headers: Mapping[str, str], body: bytes) -> None:
    """Keep what the request was answered, unless the answer was settled with the work."""
    session.execute(
        update(IdempotencyRow)
        .where(_is(ticket.caller, ticket.key), IdempotencyRow.request_sha256 == ticket.sha256)
        .where(IdempotencyRow.body == b"")
        .values(headers=dict(headers), body=body)
    )


def _sweep(session: Session) -> None:
    """Forget some of what is too old; more than comes in."""
    old = (
        select(IdempotencyRow.caller, IdempotencyRow.key)
        .where(_is_old())
        .limit(_SWEPT_AT_ONCE)
        .with_for_update(skip_locked=True)
        .cte("old")
    )
    session.execute(
        delete(IdempotencyRow)
        .where(IdempotencyRow.caller == old.c.caller, IdempotencyRow.key == old.c.key)
        .execution_options(synchronize_session=False)
    )


def _is(caller: str, key: str) -> ColumnElement[bool]:
    return (IdempotencyRow.caller == caller) & (IdempotencyRow.key == key)


def _is_old() -> ColumnElement[bool]:
    return IdempotencyRow.created_at < func.now() - KEPT
