"""Webhooks as the API shows them."""

from datetime import datetime
from typing import Any, Self

from pydantic import Field

from api.schemas.base import Answer, Page
from registry.tables import DeliveryState
from registry.webhooks import EventKind
from registry.webhooks import Webhook as WebhookRead


class Webhook(Answer):
    """Who is told of what."""

    id: int
    url: str
    events: list[EventKind]
    owner: str
    created_at: datetime
    waiting: int = Field(description="Messages that are still to be delivered.")
    delivered: int
    failed: int = Field(description="Messages that were given up.")
    last_failure: str | None
    secret: str | None = Field(description="Hexadecimal; signs the messages. In the answer to POST alone.")

    @classmethod
    def of(cls, read: WebhookRead, *, with_secret: bool = False) -> Self:
        """The webhook as it is shown."""
        row = read.row
        return cls(
            id=row.id,
            url=row.url,
            events=[EventKind(each) for each in row.events],
            owner=row.owner,
            created_at=row.created_at,
            waiting=read.waiting,
            delivered=read.delivered,
            failed=read.failed,
            last_failure=read.last_failure,
            secret=row.secret.hex() if with_secret else None,
        )


class WebhookPage(Page[Webhook]):
    """One page of webhooks."""


class Delivery(Answer):
    """One message."""

    id: int
    event: EventKind
    payload: dict[str, Any]
    state: DeliveryState
    attempt: int
    not_before: datetime | None = Field(description="When it is sent again.")
    failure: str | None
    created_at: datetime
    delivered_at: datetime | None


class DeliveryPage(Page[Delivery]):
    """One page of messages, the newest first."""
