"""Webhooks: who is told by HTTP when a model is measured or has failed."""

import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated

from pydantic import ConfigDict, Field
from sqlalchemy import ColumnElement, func, select, true
from sqlalchemy.dialects.postgresql import distinct_on, insert
from sqlalchemy.orm import Session

from registry.access import Actor, record_audit, require_owner
from registry.conditions import Seen, require_seen, state_of
from registry.declarations import Declaration, UrlText
from registry.destinations import Destinations
from registry.errors import ConflictError, NotFoundError
from registry.tables import DeliveryRow, DeliveryState, MilestoneRow, Scope, WebhookRow

MOST_OF_A_TEAM = 20
SECRET_BYTES = 32


class EventKind(StrEnum):
    """What can be told."""

    MEASURED = "model.measured"
    FAILED = "model.failed"


class WebhookDeclaration(Declaration):
    """The body of POST /webhooks."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"url": "https://hooks.example.com/sat", "events": ["model.measured"]}]}
    )

    url: UrlText
    events: Annotated[tuple[EventKind, ...], Field(min_length=1, max_length=len(EventKind))] = tuple(EventKind)


@dataclass(frozen=True, kw_only=True, slots=True)
class Webhook:
    """A webhook and how many of its messages are in which state."""

    row: WebhookRow
    waiting: int = 0
    delivered: int = 0
    failed: int = 0
    last_failure: str | None = None

    @property
    def state(self) -> str:
        """What it was made as: a webhook is not changed, only deleted."""
        return state_of(self.row.id, self.row.url, self.row.events)


def create_webhook(
    session: Session,
    declaration: WebhookDeclaration,
    destinations: Destinations,
    *,
    measured: Iterable[tuple[int, int]],
    actor: Actor,
) -> Webhook:
    """Tell the URL of these events from now on; its secret is in the answer to this alone.

    measured: (comparison id, model id) of what is measured already, which is no news. InvalidError for a host that is
    not on the operator's list, ConflictError for one webhook too many.
    """
    destinations.check(declaration.url)
    mine = select(func.count()).select_from(WebhookRow).where(WebhookRow.owner == actor.team)
    if session.execute(mine).scalar_one() >= MOST_OF_A_TEAM:
        raise ConflictError(f"a team has at most {MOST_OF_A_TEAM} webhooks: delete one first.")
    note_measured(session, measured)
    row = WebhookRow(
        url=declaration.url,
        events=sorted(set(declaration.events)),
        secret=secrets.token_bytes(SECRET_BYTES),
        owner=actor.team,
    )
    session.add(row)
    session.flush()
    session.refresh(row)
    record_audit(session, actor, "webhook.create", str(row.id), {"url": row.url, "events": row.events})
    return Webhook(row=row)


def delete_webhook(session: Session, webhook_id: int, *, actor: Actor, seen: Seen = None) -> None:
    """Tell it nothing more; what was not delivered is forgotten. seen: the states that the caller has seen."""
    found = get_webhook(session, webhook_id, actor=actor)
    require_seen(seen, (found.state,), f"webhook {webhook_id}")
    row = found.row
    record_audit(session, actor, "webhook.delete", str(row.id), {"url": row.url})
    session.delete(row)


def get_webhook(session: Session, webhook_id: int, *, actor: Actor) -> Webhook:
    """The webhook; NotFoundError when there is none, ForbiddenError when it is another team's."""
    row = session.get(WebhookRow, webhook_id)
    if row is None:
        raise NotFoundError(f"there is no webhook {webhook_id}: GET /webhooks lists yours.")
    require_owner(actor, row.owner, f"webhook {webhook_id}")
    return _with_counts(session, [row])[0]


def list_webhooks(session: Session, *, actor: Actor, after: int, limit: int) -> tuple[list[Webhook], int]:
    """Up to limit + 1 webhooks of the actor's team (an administrator's: of all), and how many there are."""
    visible: ColumnElement[bool] = true() if actor.may(Scope.ADMIN) else WebhookRow.owner == actor.team
    total = session.execute(select(func.count()).select_from(WebhookRow).where(visible)).scalar_one()
    rows = session.scalars(
        select(WebhookRow).where(visible, WebhookRow.id > after).order_by(WebhookRow.id).limit(limit + 1)
    )
    return _with_counts(session, list(rows)), total


def note_measured(session: Session, measured: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Enter (comparison id, model id) that are measured; return those that were not known to be."""
    values = [{"comparison_id": comparison_id, "model_id": model_id} for comparison_id, model_id in sorted(measured)]
    if not values:
        return []
    entered = insert(MilestoneRow).on_conflict_do_nothing().returning(MilestoneRow.comparison_id, MilestoneRow.model_id)
    return [(row.comparison_id, row.model_id) for row in session.execute(entered.values(values))]


def _with_counts(session: Session, rows: list[WebhookRow]) -> list[Webhook]:
    ids = [row.id for row in rows]
    counts: dict[tuple[int, DeliveryState], int] = {
        (webhook_id, state): number
        for webhook_id, state, number in session.execute(
            select(DeliveryRow.webhook_id, DeliveryRow.state, func.count())
            .where(DeliveryRow.webhook_id.in_(ids))
            .group_by(DeliveryRow.webhook_id, DeliveryRow.state)
        )
    }
    latest = session.execute(
        select(DeliveryRow.webhook_id, DeliveryRow.failure)
        .where(DeliveryRow.webhook_id.in_(ids), DeliveryRow.failure.is_not(None))
        .order_by(DeliveryRow.webhook_id, DeliveryRow.id.desc())
        .ext(distinct_on(DeliveryRow.webhook_id))
    )
    failures = {row.webhook_id: row.failure for row in latest}
    return [
        Webhook(
            row=row,
            waiting=counts.get((row.id, DeliveryState.WAITING), 0),
            delivered=counts.get((row.id, DeliveryState.DELIVERED), 0),
            failed=counts.get((row.id, DeliveryState.FAILED), 0),
            last_failure=failures.get(row.id),
        )
        for row in rows
    ]
