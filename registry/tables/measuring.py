"""What is measured on (image sets, protocols, comparisons) and what was measured."""

from enum import StrEnum
from typing import Any

from sqlalchemy import CheckConstraint, ForeignKey, ForeignKeyConstraint, Index, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from registry.tables.base import Base, Big, Key, Now, Small, closed_set
from registry.tables.catalogue import NAME_PATTERN


class ComparisonState(StrEnum):
    """draining: running jobs finish, none starts. paused: running jobs stop after the cell at hand, too."""

    MEASURING = "measuring"
    DRAINING = "draining"
    PAUSED = "paused"


class Part(StrEnum):
    """The three disjoint parts of an image set."""

    ATTACK = "attack"
    SELECT = "select"
    REPORT = "report"


class ImageSetRow(Base):
    """Labelled images of one task: fixed content, one fixed permutation, three parts."""

    __tablename__ = "image_sets"
    id: Mapped[Key]
    name: Mapped[str] = mapped_column(unique=True)
    task_id: Mapped[int] = mapped_column(ForeignKey("tasks.id"))
    digest: Mapped[bytes] = mapped_column(unique=True)
    content: Mapped[bytes] = mapped_column(ForeignKey("artifacts.sha256"))  # safetensors: images, labels
    n_attack: Mapped[int]
    n_select: Mapped[int]
    n_report: Mapped[int]
    prefix: Mapped[int] = mapped_column(server_default="500")  # rung 0 is the first of the attack part
    order_seed: Mapped[Big] = mapped_column(server_default="0")
    side: Mapped[Small]
    channels: Mapped[Small]
    description: Mapped[str] = mapped_column(server_default="")
    created_at: Mapped[Now]
    __table_args__ = (
        CheckConstraint(text(f"name ~ '{NAME_PATTERN}'"), name="name"),
        CheckConstraint("n_attack > 0 and n_select >= 0 and n_report >= 0", name="parts"),
        CheckConstraint("prefix > 0", name="prefix"),
        CheckConstraint("side > 0", name="side"),
        CheckConstraint("channels in (1, 3)", name="channels"),
    )


class ProtocolRow(Base):
    """How images are attacked, as data: canonical parameters and their sha256."""

    __tablename__ = "protocols"
    id: Mapped[Key]
    name: Mapped[str] = mapped_column(unique=True)
    attack: Mapped[str]
    parameters: Mapped[dict[str, Any]]
    engine_revision: Mapped[Small]
    digest: Mapped[bytes] = mapped_column(unique=True)
    description: Mapped[str] = mapped_column(server_default="")
    created_at: Mapped[Now]
    __table_args__ = (CheckConstraint(text(f"name ~ '{NAME_PATTERN}'"), name="name"),)


class ComparisonRow(Base):
    """An (image set, protocol) on which models are measured.

    `version` is raised last by every transaction that changes an answer, so it orders them. `forgot_version` is the
    last one at which results went: who knows an older one must read all of them anew.
    """

    __tablename__ = "comparisons"
    id: Mapped[Key]
    image_set_id: Mapped[int] = mapped_column(ForeignKey("image_sets.id"))
    protocol_id: Mapped[int] = mapped_column(ForeignKey("protocols.id"))
    state: Mapped[ComparisonState] = mapped_column(closed_set(ComparisonState, "state"))
    is_default: Mapped[bool] = mapped_column(server_default=text("false"))
    version: Mapped[Big] = mapped_column(server_default="0")
    forgot_version: Mapped[Big] = mapped_column(server_default="0")
    created_at: Mapped[Now]
    __table_args__ = (
        UniqueConstraint("image_set_id", "protocol_id"),
        Index("uq_comparisons_one_default", "is_default", unique=True, postgresql_where=text("is_default")),
    )


class EvaluationRow(Base):
    """A network's clean logits and correct bits on one part of an image set."""

    __tablename__ = "evaluations"
    network_id: Mapped[int] = mapped_column(ForeignKey("networks.id"), primary_key=True)
    image_set_id: Mapped[int] = mapped_column(ForeignKey("image_sets.id"), primary_key=True)
    part: Mapped[Part] = mapped_column(closed_set(Part, "part"), primary_key=True)
    rung: Mapped[Small] = mapped_column(primary_key=True)
    n: Mapped[int]
    correct: Mapped[bytes]
    n_correct: Mapped[int]
    logits: Mapped[bytes] = mapped_column(ForeignKey("artifacts.sha256"))
    numeric_path: Mapped[str]
    worker_id: Mapped[int] = mapped_column(ForeignKey("workers.id"))
    seconds: Mapped[float | None]  # of computing it
    recorded_at: Mapped[Now]
    __table_args__ = (
        CheckConstraint("rung = 0 or (rung = 1 and part = 'attack')", name="rung"),
        CheckConstraint("n_correct between 0 and n", name="n_correct"),
        CheckConstraint("octet_length(correct) = (n + 7) / 8", name="correct"),
    )


class AttackRow(Base):
    """The adversarial images made against one source on one rung, and how often they fool it."""

    __tablename__ = "attacks"
    comparison_id: Mapped[int] = mapped_column(ForeignKey("comparisons.id"), primary_key=True)
    network_id: Mapped[int] = mapped_column(ForeignKey("networks.id"), primary_key=True)
    rung: Mapped[Small] = mapped_column(primary_key=True)
    attacked: Mapped[int]  # the images of the rung that the source classifies correctly
    fooled: Mapped[bytes]
    n_fooled: Mapped[int]
    noise_fooled: Mapped[bytes]
    n_noise_fooled: Mapped[int]
    images: Mapped[bytes | None] = mapped_column(ForeignKey("artifacts.sha256"))  # null: evicted, can be made again
    images_sha256: Mapped[bytes]
    numeric_path: Mapped[str]
    worker_id: Mapped[int] = mapped_column(ForeignKey("workers.id"))
    seconds: Mapped[float | None]  # of computing it
    fence: Mapped[Big]
    recorded_at: Mapped[Now]
    __table_args__ = (
        CheckConstraint("rung in (0, 1)", name="rung"),
        CheckConstraint("n_fooled between 0 and attacked", name="n_fooled"),
        CheckConstraint("n_noise_fooled between 0 and attacked", name="n_noise_fooled"),
        CheckConstraint("images is null or images = images_sha256", name="images"),
    )


class TransferRow(Base):
    """A directed cell: which of the source's adversarial images fool the target."""

    __tablename__ = "transfers"
    comparison_id: Mapped[int] = mapped_column(primary_key=True)
    target_id: Mapped[int] = mapped_column(ForeignKey("networks.id"), primary_key=True)
    source_id: Mapped[int] = mapped_column(primary_key=True)
    rung: Mapped[Small] = mapped_column(primary_key=True)
    common: Mapped[int]  # images that source and target both classify correctly
    fooled: Mapped[bytes]
    n_fooled: Mapped[int]
    floor_fooled: Mapped[bytes | None]  # unequal input sizes only
    ceiling_fooled: Mapped[bytes | None]
    numeric_path: Mapped[str]
    worker_id: Mapped[int] = mapped_column(ForeignKey("workers.id"))
    seconds: Mapped[float | None]  # of computing it
    fence: Mapped[Big]
    recorded_at: Mapped[Now]
    __table_args__ = (
        ForeignKeyConstraint(
            ["comparison_id", "source_id", "rung"],
            ["attacks.comparison_id", "attacks.network_id", "attacks.rung"],
        ),
        CheckConstraint("source_id <> target_id", name="not_itself"),
        CheckConstraint("n_fooled between 0 and common", name="n_fooled"),
        CheckConstraint("(floor_fooled is null) = (ceiling_fooled is null)", name="controls"),
        # what an attack's removal, and a source's ceiling, look for
        Index("ix_transfers_source", "comparison_id", "source_id", "rung"),
    )


class RefusalRow(Base):
    """A cell that could not be measured, and why; its neighbours go on.

    A network's cell with itself, on rung 0, says that the comparison's attack cannot be made against it at all.
    """

    __tablename__ = "refusals"
    comparison_id: Mapped[int] = mapped_column(ForeignKey("comparisons.id"), primary_key=True)
    target_id: Mapped[int] = mapped_column(ForeignKey("networks.id"), primary_key=True)
    source_id: Mapped[int] = mapped_column(ForeignKey("networks.id"), primary_key=True)
    rung: Mapped[Small] = mapped_column(primary_key=True)
    reason: Mapped[str]
    recorded_at: Mapped[Now]


class PairRow(Base):
    """An unordered pair: the counts that SAT and its interval need, over the first `rungs` rungs."""

    __tablename__ = "pairs"
    comparison_id: Mapped[int] = mapped_column(ForeignKey("comparisons.id"), primary_key=True)
    a_id: Mapped[int] = mapped_column(ForeignKey("networks.id"), primary_key=True)
    b_id: Mapped[int] = mapped_column(ForeignKey("networks.id"), primary_key=True)
    rungs: Mapped[Small]
    n: Mapped[int]
    fooled_ab: Mapped[int | None]
    fooled_ba: Mapped[int | None]
    fooled_both: Mapped[int | None]
    version: Mapped[Big]
    __table_args__ = (
        CheckConstraint("a_id < b_id", name="order"),
        CheckConstraint("rungs in (1, 2)", name="rungs"),
        CheckConstraint("fooled_ab is not null or fooled_ba is not null", name="measured"),
        CheckConstraint(
            "(fooled_both is null) = (fooled_ab is null or fooled_ba is null)",
            name="fooled_both",
        ),
        CheckConstraint("greatest(fooled_ab, fooled_ba) <= n", name="n"),
        Index("ix_pairs_since", "comparison_id", "version"),
    )
