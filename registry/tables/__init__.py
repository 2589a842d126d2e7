"""The tables, as SQLAlchemy 2 typed mappings. Rows end in `Row`: *model* always means a neural network."""

from registry.tables.base import Base
from registry.tables.catalogue import ModelRow, ModelState, NameRow, NetworkRow, Source, TaskRow
from registry.tables.measuring import (
    AttackRow,
    ComparisonRow,
    ComparisonState,
    EvaluationRow,
    ImageSetRow,
    PairRow,
    Part,
    ProtocolRow,
    RefusalRow,
    TransferRow,
)
from registry.tables.work import (
    AnalysisKind,
    AnalysisRow,
    ArtifactRow,
    ArtifactState,
    JobKind,
    JobRow,
    JobState,
    Lane,
    WorkerRow,
)

__all__ = [
    "AnalysisKind",
    "AnalysisRow",
    "ArtifactRow",
    "ArtifactState",
    "AttackRow",
    "Base",
    "ComparisonRow",
    "ComparisonState",
    "EvaluationRow",
    "ImageSetRow",
    "JobKind",
    "JobRow",
    "JobState",
    "Lane",
    "ModelRow",
    "ModelState",
    "NameRow",
    "NetworkRow",
    "PairRow",
    "Part",
    "ProtocolRow",
    "RefusalRow",
    "Source",
    "TaskRow",
    "TransferRow",
    "WorkerRow",
]
