"""Who asks, what that one may do, and the record of what was done."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy.orm import Session

from registry.errors import ForbiddenError
from registry.tables import AuditRow, Scope

_RANKS = {Scope.READ: 0, Scope.WRITE: 1, Scope.ADMIN: 2}


@dataclass(frozen=True, slots=True)
class Actor:
    """On whose behalf a use case runs. Every use case that changes something is given one.

    name: the key's, for the audit log. team: owns what is registered; empty where no keys are needed.
    """

    name: str
    team: str
    scope: Scope
    request_id: str | None = None

    def may(self, scope: Scope) -> bool:
        """Whether the scope is among the actor's: each includes the ones before it."""
        return _RANKS[self.scope] >= _RANKS[scope]


LOCAL = Actor(name="local", team="", scope=Scope.ADMIN)
"""Whoever reaches a registry that asks for no keys, and the registry itself."""


def require_scope(actor: Actor, scope: Scope, what: str) -> None:
    """ForbiddenError unless the actor has the scope; `what` completes "to …"."""
    if not actor.may(scope):
        raise ForbiddenError(
            f"to {what}, a key with the scope `{scope}` is needed; this one has `{actor.scope}`. "
            "An administrator makes keys with `sat keys create`."
        )


def require_owner(actor: Actor, owner: str, what: str) -> None:
    """ForbiddenError unless the actor's team is the owner, or the actor is an administrator.

    what: names the thing in the sentence, such as "model 'resnet-a'". What nobody owns ("") is the administrators'.
    """
    if actor.may(Scope.ADMIN) or (owner and actor.team == owner):
        return
    belongs = f"belongs to the team {owner!r}" if owner else "belongs to no team"
    raise ForbiddenError(
        f"{what} {belongs}, and this key to {actor.team!r}: use a key of the owner's, or one with the scope `admin`."
    )


def record_audit(
    session: Session, actor: Actor, action: str, subject: str, detail: Mapping[str, Any] | None = None
) -> None:
    """Enter a change in the audit log, in the transaction that makes it.

    action: such as model.delete, alias.move, key.create. detail: JSON; never a secret.
    """
    session.add(
        AuditRow(
            actor=actor.name,
            action=action,
            subject=subject,
            detail=dict(detail or {}),
            request_id=actor.request_id,
        )
    )
