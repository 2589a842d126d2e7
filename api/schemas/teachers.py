"""Teachers as the API shows them."""

from typing import Self

from pydantic import Field

from api.schemas.base import GIGA, Answer
from api.schemas.ensembles import LeftOut
from api.schemas.pairs import Interval
from registry.reads.scores import Obtained
from registry.reads.snapshot import Snapshot
from registry.reads.teachers import Suggestion, TeacherAdvice


class PositiveFlips(Answer):
    """Images of the select part that the teacher gets right and the student wrong."""

    count: int
    n: int
    share: float


class Teacher(Answer):
    """A model to learn from."""

    model: str
    sat: float
    interval: Interval | None = Field(description="Null where SAT is estimated.")
    obtained: Obtained
    base: str | None
    family: str | None
    accuracy: float
    parameters: int
    gmacs: float
    same_base: bool
    positive_flips: PositiveFlips | None
    reason: str
    default: bool = Field(description="The rule suggests it.")

    @classmethod
    def of(cls, read: Suggestion) -> Self:
        """The teacher as it is shown."""
        flips = read.positive_flips
        return cls.model_validate(
            {
                "model": read.model.name,
                "sat": read.score.sat,
                "interval": read.score.interval,
                "obtained": read.score.obtained,
                "base": read.network.base,
                "family": read.network.family,
                "accuracy": read.accuracy,
                "parameters": read.network.parameters,
                "gmacs": read.network.macs / GIGA,
                "same_base": read.same_base,
                "positive_flips": flips and {"count": flips.count, "n": flips.n, "share": flips.rate},
                "reason": read.reason,
                "default": read.suggested,
            }
        )


class Teachers(Answer):
    """Teachers for one student: what the rule suggests first, then the best of other bases and of the same in turn."""

    student: str = Field(description="A model, or an architecture.")
    estimated_from: list[str] = Field(
        description="Of an architecture: the models like it whose mean SAT is the estimate. Empty for a model."
    )
    comparison: str
    version: int
    items: list[Teacher]
    left_out: list[LeftOut]
    rule: str
    evidence: str
    warnings: list[str]

    @classmethod
    def of(cls, read: TeacherAdvice, snapshot: Snapshot) -> Self:
        """The advice as it is shown."""
        return cls(
            student=read.student,
            estimated_from=list(read.estimated_from),
            comparison=snapshot.comparison.name,
            version=snapshot.comparison.version,
            items=[Teacher.of(each) for each in read.items],
            left_out=[LeftOut(model=each.id, reason=each.reason) for each in read.left_out],
            rule=read.rule,
            evidence=read.evidence,
            warnings=list(read.warnings),
        )
