"""Messages to webhooks: entered in the transaction that makes the event, sent by the `notify` job until they arrive."""

import hashlib
import hmac
import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Text, bindparam, exists, func, literal, or_, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from registry.naming import own_name
from registry.tables import DeliveryRow, DeliveryState, JobKind, ModelRow, NetworkRow, WebhookRow
from registry.wanting import want
from registry.webhooks import EventKind

MOST_ATTEMPTS = 8
FIRST_WAIT_SECONDS = 5.0
WAIT_FACTOR = 4.0  # 5 s, 20 s, 80 s … : the eighth attempt is 7.6 hours after the first
SIGNATURE = "X-SAT-Signature"
# with every job of a target: building it takes longer than running it
_NEWS_IS_WANTED = select(exists().where(bindparam("kind", type_=Text) == func.any(WebhookRow.events)))


@dataclass(frozen=True, kw_only=True, slots=True)
class Message:
    """What is to be sent, and where."""

    delivery_id: int
    webhook_id: int
    url: str
    event: str
    attempt: int
    body: bytes
    secret: bytes

    def signature(self, timestamp: int) -> str:
        """The value of X-SAT-Signature: HMAC-SHA256, by the webhook's secret, of `<timestamp>.<body>`."""
        signed = hmac.new(self.secret, f"{timestamp}.".encode() + self.body, hashlib.sha256).hexdigest()
        return f"t={timestamp},v1={signed}"


def tell(session: Session, kind: EventKind, model_id: int, **more: Any) -> None:
    """Enter a message about the model for every webhook that wants such, and have them sent.

    To be called before comparisons are locked (raise_version), as everything that asks for jobs.
    """
    wants = select(WebhookRow.id).where(literal(kind.value) == func.any(WebhookRow.events)).order_by(WebhookRow.id)
    webhooks = session.scalars(wants).all()
    if not webhooks:
        return
    model = session.get_one(ModelRow, model_id)
    digest = session.scalars(select(NetworkRow.digest).where(NetworkRow.id == model.network_id)).one_or_none()
    payload = {
        "model": own_name(session, model.id),
        "digest": digest.hex() if digest else None,
        "state": model.state,
        **more,
    }
    session.execute(
        insert(DeliveryRow),
        [{"webhook_id": each, "event": kind.value, "payload": payload} for each in webhooks],
    )
    want(session, JobKind.NOTIFY)


def news_is_wanted(session: Session) -> bool:
    """Whether any webhook is to be told which models are measured."""
    return session.execute(_NEWS_IS_WANTED, {"kind": EventKind.MEASURED.value}).scalar_one()


def ask_for_news(session: Session) -> None:
    """Have it looked at which models are measured now, if anybody wants to be told; before comparisons are locked."""
    if news_is_wanted(session):
        want(session, JobKind.NOTIFY)


def due_messages(session: Session, limit: int) -> list[Message]:
    """What is to be sent now, the oldest first."""
    rows = session.execute(
        select(DeliveryRow, WebhookRow)
        .join(WebhookRow, WebhookRow.id == DeliveryRow.webhook_id)
        .where(
            DeliveryRow.state == DeliveryState.WAITING,
            or_(DeliveryRow.not_before.is_(None), DeliveryRow.not_before <= func.now()),
        )
        .order_by(DeliveryRow.id)
        .limit(limit)
    )
    return [
        Message(
            delivery_id=delivery.id,
            webhook_id=webhook.id,
            url=webhook.url,
            event=delivery.event,
            attempt=delivery.attempt + 1,
            body=json.dumps(
                {
                    "id": delivery.id,
                    "event": delivery.event,
                    "at": delivery.created_at.isoformat(),
                    **delivery.payload,
                },
                ensure_ascii=False,
            ).encode(),
            secret=webhook.secret,
        )
        for delivery, webhook in rows
    ]


def next_due(session: Session) -> datetime | None:
    """When the next message is to be sent (now, for one that is due); None when none waits."""
    waits = select(func.min(func.coalesce(DeliveryRow.not_before, func.now())))
    return session.execute(waits.where(DeliveryRow.state == DeliveryState.WAITING)).scalar_one()


def record_delivered(session: Session, message: Message) -> None:
    """It arrived."""
    delivery = session.get(DeliveryRow, message.delivery_id, with_for_update=True)
    if delivery is None:  # its webhook was deleted meanwhile
        return
    delivery.state, delivery.attempt = DeliveryState.DELIVERED, message.attempt
    delivery.delivered_at = session.execute(select(func.now())).scalar_one()
    delivery.failure = delivery.not_before = None


def record_failure(session: Session, message: Message, reason: str, *, first_wait_seconds: float) -> None:
    """It did not arrive: it is sent again, later each time, or given up. Others to the same webhook wait as long."""
    delivery = session.get(DeliveryRow, message.delivery_id, with_for_update=True)
    if delivery is None:
        return
    delivery.attempt, delivery.failure = message.attempt, reason
    if message.attempt >= MOST_ATTEMPTS:
        delivery.state = DeliveryState.FAILED
        return
    now: datetime = session.execute(select(func.now())).scalar_one()
    seconds = first_wait_seconds * WAIT_FACTOR ** (message.attempt - 1)
    delivery.not_before = now + timedelta(seconds=seconds)


def list_deliveries(
    session: Session, webhook_id: int, *, before: int | None, limit: int
) -> tuple[list[DeliveryRow], int]:
    """Up to limit + 1 messages of a webhook with an id below `before`, the newest first, and how many there are."""
    total = session.execute(
        select(func.count()).select_from(DeliveryRow).where(DeliveryRow.webhook_id == webhook_id)
    ).scalar_one()
    older = [] if before is None else [DeliveryRow.id < before]
    rows = session.scalars(
        select(DeliveryRow)
        .where(DeliveryRow.webhook_id == webhook_id, *older)
        .order_by(DeliveryRow.id.desc())
        .limit(limit + 1)
    )
    return list(rows), total
