"""Answers about keys."""

from datetime import datetime
from typing import Self

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from api.schemas.base import Answer, Page
from registry.access import Actor
from registry.declarations import Declaration, Name
from registry.tables import KeyRow, Scope


class KeyDeclaration(Declaration):
    """A key that is asked for."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"name": "ci", "scope": "write", "team": "vision"}]})

    name: Name = Field(description="What the audit log calls it.", examples=["ci"])
    scope: Scope = Field(default=Scope.READ, description="read, write or admin: each includes the ones before it.")
    team: Name | None = Field(
        default=None, description="Owns what is registered with it; left out: the team of the key that makes it."
    )
    expires_at: AwareDatetime | None = Field(default=None, description="It ends then by itself; left out: never.")


class Key(Answer):
    """A key without the key itself, of which only a hash is kept."""

    name: str
    team: str
    scope: Scope
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None = Field(description="To the minute.")


class KeyPage(Page[Key]):
    """Keys in the order they were made, revoked and expired ones included."""


class NewKey(Key):
    """A key that was just made."""

    key: str | None = Field(
        description="The key itself, shown this once; null where the same request is answered again "
        "(Idempotency-Key): revoke it then, and make another.",
        examples=["sat_…"],
    )

    @classmethod
    def made(cls, row: KeyRow, secret: str | None) -> Self:
        """The answer to whoever made it."""
        return cls(**Key.model_validate(row).model_dump(), key=secret)


class SignIn(BaseModel):
    """What a page sends to be given a cookie."""

    key: str = Field(max_length=200, description="An API key.", examples=["sat_…"])
    next: str = Field(default="/docs", max_length=2000, description="Where a form's sender wants to go then.")


class Identity(Answer):
    """Whom a request's key stands for."""

    name: str
    team: str
    scope: Scope

    @classmethod
    def of(cls, actor: Actor) -> Self:
        """As the access layer found out."""
        return cls(name=actor.name, team=actor.team, scope=actor.scope)
