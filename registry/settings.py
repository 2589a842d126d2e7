"""Settings, read once at an entry point and passed down. docs/settings.md explains each one."""

import re
import tempfile
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AliasChoices, Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from registry.tables import Lane
from registry.tables.catalogue import NAME_PATTERN

GIBIBYTE = 1024**3
LOOPBACK_HOSTS = ("127.0.0.1", "localhost", "::1")


class DatabaseSettings(BaseSettings):
    """What every process needs to know."""

    model_config = SettingsConfigDict(env_prefix="SAT_", extra="ignore", frozen=True)

    database_url: str = Field(validation_alias=AliasChoices("DATABASE_URL", "database_url"))

    @field_validator("database_url")
    @classmethod
    def _use_psycopg(cls, url: str) -> str:
        for scheme in ("postgresql://", "postgres://"):
            if url.startswith(scheme):
                return "postgresql+psycopg://" + url.removeprefix(scheme)
        return url


class KeyMode(StrEnum):
    """Who may ask an api."""

    REQUIRED = "required"  # whoever has a key
    LOOPBACK = "loopback"  # whoever reaches it, from this machine alone


class MigrationSettings(DatabaseSettings):
    """What the migration needs to know."""

    # compose hands over an empty variable where none is set
    model_config = SettingsConfigDict(env_prefix="SAT_", extra="ignore", frozen=True, env_ignore_empty=True)

    admin_key: SecretStr | None = Field(default=None, description="The first key with the scope `admin`.")
    admin_key_file: Path | None = Field(default=None, description="A file that holds it.")

    def first_key(self) -> str | None:
        """The key that the operator chose, if any."""
        if self.admin_key is not None and self.admin_key.get_secret_value():
            return self.admin_key.get_secret_value()
        return self.admin_key_file.read_text(encoding="utf-8").strip() if self.admin_key_file else None


LogFormat = Literal["json", "logfmt"]


class Settings(DatabaseSettings):
    """What an api or worker process needs to know; a missing one ends the process with its name."""

    redis_url: str = Field(validation_alias=AliasChoices("REDIS_URL", "redis_url"))
    artifacts: str = Field(description="Folder, or s3://bucket/prefix, that holds the bytes.")
    cache: Path = Field(
        default_factory=lambda: Path(tempfile.gettempdir()) / "sat-registry-cache",
        description="Local folder for uploads in flight and copies of remote artifacts.",
    )
    log_format: LogFormat = Field(default="json", description="json, or logfmt: key=value.")
    host: str = "127.0.0.1"
    port: int = 8000
    grace_seconds: Annotated[int, Field(ge=0, le=3600)] = Field(
        default=10, description="How long a stopping api finishes what is under way."
    )
    fd: int | None = Field(default=None, description="An inherited listening socket, instead of host and port.")
    allowed_hosts: Annotated[tuple[str, ...], NoDecode] = Field(
        default=("*",), description="Host headers that are answered, separated by commas; on loopback, its names."
    )
    keys: KeyMode = Field(default=KeyMode.REQUIRED, description="loopback: none, on 127.0.0.1 only.")
    writes_per_minute: int = Field(default=600, ge=0, description="Of one key; 0: as many as it likes.")
    sources: Annotated[dict[str, Path], NoDecode] = Field(
        default_factory=dict, description="Folders to register files from: name=/path, separated by commas."
    )
    webhook_hosts: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(), description="Hosts that webhooks may be on: names, *.domain, addresses, networks; by commas."
    )
    lanes: Annotated[tuple[Lane, ...], NoDecode] = Field(
        default=(Lane.COMPUTE, Lane.LIGHT), description="Which jobs a worker takes, separated by commas."
    )
    device: str = Field(default="auto", description="auto, cpu, cuda or cuda:N.")
    precision: Literal["float32", "auto", "bfloat16"] = Field(
        default="float32",
        description="bfloat16: for networks that pass the parity gate; auto: so, where this device is faster with it.",
    )
    conversion: Literal["warn", "strict"] = Field(
        default="warn", description="strict: no .pth is read where the system does not confine the reader wholly."
    )
    max_upload_bytes: int = 20 * GIBIBYTE
    stall_seconds: float = Field(
        default=60.0, gt=0, description="A body of which nothing comes for longer is given up."
    )
    artifacts_quota_bytes: int | None = Field(default=None, gt=0, description="What the artifact store may hold.")
    adversarial_bytes: int | None = Field(default=None, gt=0, description="What adversarial images may take of it.")
    cache_bytes: int = Field(default=20 * GIBIBYTE, gt=0, description="What copies of remote artifacts may take.")
    min_free_bytes: int = Field(default=GIBIBYTE, ge=0, description="A disk with less free space takes no more bytes.")
    gc_interval_seconds: float = Field(default=600.0, ge=0, description="One worker collects garbage; 0: none does.")
    gc_unreferenced_seconds: float = Field(default=3600.0, ge=0, description="How long unneeded bytes are kept.")
    gc_deleted_seconds: float = Field(default=7 * 86400.0, ge=0, description="How long deleted models are kept.")
    gc_history_seconds: float = Field(default=30 * 86400.0, ge=0, description="How long old records of work are kept.")
    lease_seconds: float = Field(default=15.0, gt=0, description="A worker silent for longer loses its job.")
    record_seconds: float = Field(
        default=0.25, ge=0, description="Cells that took no longer together are recorded together; 0: each by itself."
    )
    job_seconds: float = Field(default=6 * 3600.0, gt=0, description="A job running for longer is stopped.")

    @field_validator("allowed_hosts", mode="before")
    @classmethod
    def _split_hosts(cls, hosts: object) -> object:
        return tuple(host.strip() for host in hosts.split(",")) if isinstance(hosts, str) else hosts

    @field_validator("webhook_hosts", mode="before")
    @classmethod
    def _split_webhook_hosts(cls, hosts: object) -> object:
        return tuple(host.strip() for host in hosts.split(",") if host.strip()) if isinstance(hosts, str) else hosts

    @field_validator("sources", mode="before")
    @classmethod
    def _split_sources(cls, sources: object) -> object:
        if not isinstance(sources, str):
            return sources
        named = [each.strip().partition("=") for each in sources.split(",") if each.strip()]
        wrong = [name for name, _, path in named if not re.fullmatch(NAME_PATTERN, name) or not path.startswith("/")]
        if wrong:
            raise ValueError(
                f"{wrong[0]!r} needs a name and an absolute path: SAT_SOURCES=zoo=/data/zoo,more=/mnt/more"
            )
        return {name: Path(path) for name, _, path in named}

    @field_validator("lanes", mode="before")
    @classmethod
    def _split_lanes(cls, lanes: object) -> object:
        return tuple(lane.strip() for lane in lanes.split(",")) if isinstance(lanes, str) else lanes

    @model_validator(mode="after")
    def _keep_to_loopback(self) -> Self:
        # any page could otherwise reach an api that asks for no key, under a name of its own (DNS rebinding)
        if self.keys is KeyMode.LOOPBACK and "allowed_hosts" not in self.model_fields_set:
            object.__setattr__(self, "allowed_hosts", LOOPBACK_HOSTS)
        return self
