"""Answers of /gc and /doctor."""

from pydantic import Field

from api.schemas.base import Answer


class Swept(Answer):
    """What garbage collection removed, or would remove."""

    dry_run: bool
    more: bool = Field(description="It ended early, after some seconds: ask again to go on.")
    models: int = Field(description="Deleted models that could no longer be restored.")
    networks: int = Field(description="Networks, with their results, that no model names any more.")
    artifacts: int = Field(description="Files that nothing refers to.")
    bytes: int = Field(description="Their size.")
    later_artifacts: int = Field(description="Files that nothing refers to either, but not for long enough yet.")
    later_bytes: int = Field(description="Their size.")
    evicted_bytes: int = Field(description="Adversarial images beyond SAT_ADVERSARIAL_BYTES.")
    workers: int = Field(description="Workers that left long ago and made nothing that is kept.")
    analyses: int = Field(description="Analyses that nobody has asked for in long.")
    idempotency_keys: int = Field(description="Idempotency keys older than a day.")
    deliveries: int = Field(description="Messages to webhooks that were settled long ago.")
    uploads: int = Field(description="Uploads that were not continued for a day.")
    spool: int = Field(description="Files that killed processes of this host left unfinished.")


class Finding(Answer):
    """One thing that is wrong."""

    check: str = Field(description="Which check found it.")
    what: str = Field(description="What is wrong.")
    do: str = Field(description="What to do.")


class Examination(Answer):
    """What a look at the registry found; nothing when it is consistent."""

    healthy: bool
    findings: list[Finding]
    checked: int = Field(description="Artifacts and pairs that were read, on a page of deep checks.")
    next: str | None = Field(description="Where the next page of deep checks begins; null at the end.")
