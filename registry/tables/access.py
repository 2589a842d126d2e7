"""Who may ask, what was asked before, what was changed by whom, and who is told."""

from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import ARRAY, CheckConstraint, ForeignKey, Index, Text, text
from sqlalchemy.orm import Mapped, mapped_column

from registry.tables.base import Base, Big, BigKey, Key, Now, Small, closed_set
from registry.tables.catalogue import NAME_PATTERN


class Scope(StrEnum):
    """What a key may do; each includes the ones before it."""

    READ = "read"
    WRITE = "write"
    ADMIN = "admin"


class DeliveryState(StrEnum):
    """How far a message to a webhook is."""

    WAITING = "waiting"
    DELIVERED = "delivered"
    FAILED = "failed"


class KeyRow(Base):
    """An API key. The key itself is shown once and never stored: only its sha256 is."""

    __tablename__ = "api_keys"
    id: Mapped[Key]
    name: Mapped[str] = mapped_column(unique=True)
    team: Mapped[str]  # owns the models that are registered with the key
    scope: Mapped[Scope] = mapped_column(closed_set(Scope, "scope"))
    sha256: Mapped[bytes] = mapped_column(unique=True)
    created_at: Mapped[Now]
    expires_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]
    last_used_at: Mapped[datetime | None]  # to the minute: it is not written at every request
    __table_args__ = (
        CheckConstraint(text(f"name ~ '{NAME_PATTERN}'"), name="name"),
        CheckConstraint(text(f"team ~ '{NAME_PATTERN}'"), name="team"),
        CheckConstraint("octet_length(sha256) = 32", name="sha256"),
    )


class IdempotencyRow(Base):
    """A request under an Idempotency-Key and its answer, written in the transaction that did the work."""

    __tablename__ = "idempotency_keys"
    caller: Mapped[str] = mapped_column(primary_key=True)  # the team; empty where no keys are needed
    key: Mapped[str] = mapped_column(primary_key=True)
    request_sha256: Mapped[bytes]  # of method, path and body
    status: Mapped[Small | None]  # null while it runs
    headers: Mapped[dict[str, Any] | None]
    body: Mapped[bytes | None]
    created_at: Mapped[Now]
    __table_args__ = (
        CheckConstraint("octet_length(key) between 1 and 255", name="key"),
        CheckConstraint("(status is null) = (body is null)", name="answer"),
        Index("ix_idempotency_keys_created_at", "created_at"),
    )


class AuditRow(Base):
    """One change that someone may ask about later: deletes, restores, alias moves, keys."""

    __tablename__ = "audit"
    id: Mapped[BigKey]
    at: Mapped[Now]
    actor: Mapped[str]  # the key's name, or `local`
    action: Mapped[str]  # such as model.delete, alias.move, key.create
    subject: Mapped[str]
    detail: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'::jsonb"))
    request_id: Mapped[str | None]


class WebhookRow(Base):
    """Who is told by HTTP when something happens; the address is on the operator's allow-list."""

    __tablename__ = "webhooks"
    id: Mapped[Key]
    url: Mapped[str]
    events: Mapped[list[str]] = mapped_column(ARRAY(Text))
    secret: Mapped[bytes]  # signs every message (HMAC-SHA256)
    owner: Mapped[str] = mapped_column(server_default="")
    created_at: Mapped[Now]
    __table_args__ = (CheckConstraint("cardinality(events) > 0", name="events"),)


class DeliveryRow(Base):
    """One message to one webhook, entered in the transaction that made the event."""

    __tablename__ = "deliveries"
    id: Mapped[BigKey]
    webhook_id: Mapped[int] = mapped_column(ForeignKey("webhooks.id", ondelete="CASCADE"), index=True)
    event: Mapped[str]
    payload: Mapped[dict[str, Any]]
    state: Mapped[DeliveryState] = mapped_column(closed_set(DeliveryState, "state"), server_default="waiting")
    attempt: Mapped[Small] = mapped_column(server_default="0")
    not_before: Mapped[datetime | None]
    failure: Mapped[str | None]
    created_at: Mapped[Now]
    delivered_at: Mapped[datetime | None]
    __table_args__ = (Index("ix_deliveries_waiting", "id", postgresql_where=text("state = 'waiting'")),)


class MilestoneRow(Base):
    """That a model was measured against all others in a comparison: told the first time, however it goes on."""

    __tablename__ = "milestones"
    comparison_id: Mapped[int] = mapped_column(ForeignKey("comparisons.id", ondelete="CASCADE"), primary_key=True)
    model_id: Mapped[int] = mapped_column(ForeignKey("models.id", ondelete="CASCADE"), primary_key=True)
    reached_at: Mapped[Now]


class UploadRow(Base):
    """A large file that arrives in pieces; its bytes lie in the artifact store's spool."""

    __tablename__ = "uploads"
    id: Mapped[str] = mapped_column(primary_key=True)  # 256 random bits: whoever knows it may continue it
    owner: Mapped[str] = mapped_column(server_default="")
    sha256: Mapped[bytes | None] = mapped_column(ForeignKey("artifacts.sha256"))  # set when it is complete
    bytes: Mapped[Big]
    created_at: Mapped[Now]
    touched_at: Mapped[Now]
    __table_args__ = (CheckConstraint("bytes >= 0", name="bytes"),)
