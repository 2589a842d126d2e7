"""Aliases and the audit log as the API shows them."""

from datetime import datetime
from typing import Any

from pydantic import Field

from api.schemas.base import Answer, Page


class Alias(Answer):
    """A further name of a model."""

    alias: str
    model: str
    digest: str | None = Field(description="Of the model's network, hexadecimal; null until the model is prepared.")
    protected: bool = Field(description="Only an administrator moves or deletes it, and its model cannot be deleted.")


class AliasPage(Page[Alias]):
    """One page of aliases."""


class AuditEntry(Answer):
    """One change that somebody made."""

    id: int
    at: datetime
    actor: str = Field(description="The key's name, or `local`.")
    action: str
    subject: str
    detail: dict[str, Any]
    request_id: str | None


class AuditPage(Page[AuditEntry]):
    """One page of the audit log, the newest entry first."""
