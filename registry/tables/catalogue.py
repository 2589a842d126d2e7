"""Tasks, networks and the models that name them."""

from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import ARRAY, CheckConstraint, Computed, ForeignKey, Index, Integer, Text, text
from sqlalchemy.dialects.postgresql import TSVECTOR
from sqlalchemy.orm import Mapped, mapped_column
from sqlalchemy.types import Float

from registry.tables.base import Base, Big, Key, Now, Small, closed_set

NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$"


class Source(StrEnum):
    """Where a model's weights come from."""

    UPLOAD = "upload"
    PRETRAINED = "pretrained"


class ModelState(StrEnum):
    """How far a model is: what it still needs is in its jobs and cells, not here."""

    RECEIVED = "received"
    READY = "ready"
    SUSPECT = "suspect"
    ARCHIVED = "archived"
    FAILED = "failed"


class TaskRow(Base):
    """An ordered list of class names; image sets and networks belong to one."""

    __tablename__ = "tasks"
    id: Mapped[Key]
    name: Mapped[str] = mapped_column(unique=True)
    digest: Mapped[bytes] = mapped_column(unique=True)  # sha256 of the canonical JSON list
    classes: Mapped[list[str]] = mapped_column(ARRAY(Text))
    created_at: Mapped[Now]
    __table_args__ = (
        CheckConstraint(text(f"name ~ '{NAME_PATTERN}'"), name="name"),
        CheckConstraint("cardinality(classes) >= 2", name="classes"),
    )


class NetworkRow(Base):
    """What computes: immutable, and the thing that results hang on."""

    __tablename__ = "networks"
    id: Mapped[Key]
    digest: Mapped[bytes] = mapped_column(unique=True)
    task_id: Mapped[int] = mapped_column(ForeignKey("tasks.id"), index=True)
    architecture: Mapped[str]
    model_args: Mapped[dict[str, Any]]
    input_side: Mapped[Small]
    channels: Mapped[Small]
    mean: Mapped[list[float]] = mapped_column(ARRAY(Float))
    std: Mapped[list[float]] = mapped_column(ARRAY(Float))
    class_map: Mapped[list[int]] = mapped_column(ARRAY(Integer))  # output that stands for each class of the task
    components: Mapped[dict[str, Any]]  # the paper's 13; null where it cannot be told
    base: Mapped[str | None]
    family: Mapped[str | None]
    parameters: Mapped[Big]
    macs: Mapped[Big]
    weights: Mapped[bytes] = mapped_column(ForeignKey("artifacts.sha256"))
    created_at: Mapped[Now]
    __table_args__ = (
        CheckConstraint("octet_length(digest) = 32", name="digest"),
        CheckConstraint("input_side > 0", name="input_side"),
        CheckConstraint("channels in (1, 3)", name="channels"),
        CheckConstraint("cardinality(mean) = channels and cardinality(std) = channels", name="mean_std"),
    )


class ModelRow(Base):
    """A named entry for a network. Two models may share a network, and then share its results."""

    __tablename__ = "models"
    id: Mapped[Key]
    task_id: Mapped[int] = mapped_column(ForeignKey("tasks.id"), index=True)
    network_id: Mapped[int | None] = mapped_column(ForeignKey("networks.id"), index=True)
    source: Mapped[Source] = mapped_column(closed_set(Source, "source"))
    declaration: Mapped[dict[str, Any]]  # what was asked for: architecture, model_args, input, classes, weights …
    checkpoint: Mapped[bytes | None] = mapped_column(ForeignKey("artifacts.sha256"))  # the file as it was uploaded
    content_sha256: Mapped[bytes]  # of the identity-giving part of the declaration and the checkpoint
    owner: Mapped[str] = mapped_column(server_default="")
    supersedes: Mapped[int | None] = mapped_column(ForeignKey("models.id", ondelete="SET NULL"))
    expected_accuracy: Mapped[float | None]
    state: Mapped[ModelState] = mapped_column(closed_set(ModelState, "state"), server_default="received")
    failure: Mapped[str | None]
    concern: Mapped[str | None]  # why it is suspect, and what to check
    description: Mapped[str] = mapped_column(server_default="")
    license: Mapped[str | None]
    card: Mapped[str] = mapped_column(server_default="")  # Markdown
    tags: Mapped[list[str]] = mapped_column(ARRAY(Text), server_default="{}")
    last_rung: Mapped[Small] = mapped_column(server_default="1")  # 0: measured on the prefix only
    revision: Mapped[int] = mapped_column(server_default="1")  # raised by every change of what describes the model
    deleted_name: Mapped[str | None]  # kept for a restore
    created_at: Mapped[Now]
    deleted_at: Mapped[datetime | None]
    # those of description and card; loaded by nobody
    words: Mapped[str | None] = mapped_column(
        TSVECTOR,
        Computed("to_tsvector('simple'::regconfig, description || ' ' || card)", persisted=True),
        deferred=True,
    )
    __table_args__ = (
        Index(None, "words", postgresql_using="gin"),
        CheckConstraint("state in ('received', 'failed') or network_id is not null", name="network"),
        CheckConstraint("(state = 'failed') = (failure is not null)", name="failure"),
        CheckConstraint("(state = 'suspect') = (concern is not null)", name="concern"),
        CheckConstraint("(source = 'upload') = (checkpoint is not null)", name="checkpoint"),
        CheckConstraint("expected_accuracy between 0 and 1", name="expected_accuracy"),
        CheckConstraint("(deleted_at is null) = (deleted_name is null)", name="deleted"),
        CheckConstraint("last_rung in (0, 1)", name="last_rung"),
    )


class NameRow(Base):
    """Names and aliases live in one name space; a model has exactly one name of its own."""

    __tablename__ = "names"
    name: Mapped[str] = mapped_column(primary_key=True)
    model_id: Mapped[int] = mapped_column(ForeignKey("models.id", ondelete="CASCADE"))
    is_alias: Mapped[bool] = mapped_column(server_default=text("false"))
    protected: Mapped[bool] = mapped_column(server_default=text("false"))  # only an admin moves or removes it
    __table_args__ = (
        CheckConstraint(text(f"name ~ '{NAME_PATTERN}'"), name="name"),
        CheckConstraint("is_alias or not protected", name="protected"),
        Index("uq_names_own_name", "model_id", unique=True, postgresql_where=text("not is_alias")),
    )


__all__ = ["ModelRow", "ModelState", "NameRow", "NetworkRow", "Source", "TaskRow"]
