"""API keys: made, listed, revoked, and read by those who check them."""

import hashlib
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy import ColumnElement, func, or_, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from registry.access import Actor, record_audit
from registry.errors import ConflictError, InvalidError, NotFoundError
from registry.tables import KeyRow, Scope

PREFIX = "sat_"  # so that people, and scanners of repositories and logs, know one when they see it
_SECRET = re.compile(r"sat_[A-Za-z0-9_-]{43}")
ADMIN = "admin"
HOW_TO_MAKE_ONE = "echo \"sat_$(openssl rand -base64 32 | tr '+/' '-_' | tr -d '=')\""
USED_EVERY = timedelta(minutes=1)
OPERATOR = Actor(name="operator", team="", scope=Scope.ADMIN)
"""Whoever has the database itself."""


@dataclass(frozen=True, slots=True)
class LiveKey:
    """A key that may be used now: its sha256, whom it stands for, and for how many seconds more (None: for ever)."""

    id: int
    sha256: bytes
    actor: Actor
    seconds_left: float | None


def make_secret() -> str:
    """A new key: 256 random bits behind the prefix."""
    return PREFIX + secrets.token_urlsafe(32)


def is_secret(text: str | bytes) -> bool:
    """Whether the text has a key's form."""
    return _SECRET.fullmatch(text if isinstance(text, str) else text.decode("latin-1")) is not None


def hide_keys(text: str) -> str:
    """The text with every key in it cut down to its prefix."""
    return _SECRET.sub(f"{PREFIX}…", text)


def digest_of(secret: str | bytes) -> bytes:
    """What is stored of a key. No salt and no slow hash: nobody finds 256 random bits by trying."""
    return hashlib.sha256(secret.encode() if isinstance(secret, str) else secret).digest()


def create_key(
    session: Session, *, name: str, scope: Scope, team: str | None, expires_at: datetime | None, actor: Actor
) -> tuple[KeyRow, str]:
    """Enter a new key; return its row and the key itself, which nothing tells a second time.

    team: left out, that of the actor, or the key's own name where the actor has none.
    Raises ConflictError for a name that a key has or had, InvalidError for an expiry in the past.
    """
    if expires_at is not None and expires_at <= datetime.now(UTC):
        raise InvalidError("`expires_at` is in the past: name a time to come, with its time zone, or leave it out.")
    secret = make_secret()
    row = _enter(
        session,
        name=name,
        team=team or actor.team or name,
        scope=scope,
        sha256=digest_of(secret),
        expires_at=expires_at,
    )
    if row is None:
        raise ConflictError(
            f"there is a key {name!r}, or was one: the audit log would mix them up. Choose another name."
        )
    record_audit(session, actor, "key.create", name, {"team": row.team, "scope": scope.value})
    return row, secret


def list_keys(session: Session, *, after: int, limit: int) -> tuple[Sequence[KeyRow], int]:
    """At most limit + 1 keys behind the id `after`, revoked and expired ones included; and how many there are."""
    found = session.scalars(select(KeyRow).where(KeyRow.id > after).order_by(KeyRow.id).limit(limit + 1)).all()
    return found, session.scalar(select(func.count()).select_from(KeyRow)) or 0


def revoke_key(session: Session, name: str, *, actor: Actor) -> KeyRow:
    """End a key for good; one that was revoked stays as it is.

    Raises NotFoundError, and ConflictError for the last key that could make others.
    """
    # all administrators' keys are locked: two that are revoked at once could each count on the other
    admins = session.scalars(
        select(KeyRow).where(KeyRow.scope == Scope.ADMIN, _is_live()).order_by(KeyRow.id).with_for_update()
    ).all()
    row = session.scalars(select(KeyRow).where(KeyRow.name == name).with_for_update()).one_or_none()
    if row is None:
        raise NotFoundError(f"there is no key {name!r}: GET /keys lists them.")
    if row.revoked_at is None:
        if [each.id for each in admins] == [row.id] and actor.team:
            raise ConflictError(
                f"{name!r} is the last key with the scope `admin`: make another one first, or nobody could."
            )
        row.revoked_at = func.now()
        session.flush()
        session.refresh(row)
        record_audit(session, actor, "key.revoke", name)
    return row


def ensure_admin_key(session: Session, secret: str) -> None:
    """Enter the key that the operator chose, unless it is there; InvalidError when it has not a key's form."""
    if not is_secret(secret):
        raise InvalidError(f"SAT_ADMIN_KEY is no key: make one with `{HOW_TO_MAKE_ONE}`.")
    sha256 = digest_of(secret)
    for name in (ADMIN, f"{ADMIN}-{sha256.hex()[:8]}"):  # an earlier one, that was replaced, may hold the name
        if session.scalar(select(KeyRow.id).where(KeyRow.sha256 == sha256)) is not None:
            return
        if _enter(session, name=name, team=ADMIN, scope=Scope.ADMIN, sha256=sha256, expires_at=None) is not None:
            record_audit(session, OPERATOR, "key.create", name, {"team": ADMIN, "scope": Scope.ADMIN.value})
            return


def any_live_key(session: Session) -> bool:
    """Whether anybody could be let in."""
    return session.scalar(select(KeyRow.id).where(_is_live()).limit(1)) is not None


def live_keys(session: Session) -> list[LiveKey]:
    """All keys that may be used now, by the database's clock."""
    left = func.extract("epoch", KeyRow.expires_at - func.now())
    rows = session.execute(
        select(KeyRow.id, KeyRow.sha256, KeyRow.name, KeyRow.team, KeyRow.scope, left).where(_is_live())
    )
    return [
        LiveKey(key_id, sha256, Actor(name=name, team=team, scope=scope), None if seconds is None else float(seconds))
        for key_id, sha256, name, team, scope, seconds in rows
    ]


def note_use(session: Session, key_id: int) -> None:
    """Set when the key was last used, to the minute."""
    stale = or_(KeyRow.last_used_at.is_(None), KeyRow.last_used_at < func.now() - USED_EVERY)
    session.execute(update(KeyRow).where(KeyRow.id == key_id, stale).values(last_used_at=func.now()))


def _enter(session: Session, **values: object) -> KeyRow | None:
    """The new row; None when its name or its key is there already."""
    return session.scalars(insert(KeyRow).values(**values).on_conflict_do_nothing().returning(KeyRow)).one_or_none()


def _is_live() -> ColumnElement[bool]:
    return KeyRow.revoked_at.is_(None) & or_(KeyRow.expires_at.is_(None), KeyRow.expires_at > func.now())
