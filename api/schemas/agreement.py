"""Agreement as the API shows it."""

from typing import Annotated, Self

from pydantic import Field

from api.schemas.base import Answer
from registry.reads.agreement import Agreement as AgreementRead

Interval = Annotated[tuple[float, float], Field(description="95 % interval from resampling models: low, high.")]


class Agreement(Answer):
    """How far two comparisons rank pairs alike; everything from `spearman` on is null where `reason` says why."""

    comparisons: tuple[str, str]
    versions: tuple[int, int]
    spearman: float | None = Field(description="Rank correlation of SAT over the pairs measured in both.")
    interval: Interval | None
    p_value: float | None = Field(description="Mantel's test: chance that renamed models agree as much (one-sided).")
    mean_difference: float | None = Field(description="Mean SAT of the second less that of the first.")
    difference_interval: Interval | None
    models: int | None = Field(description="Networks compared: a fixed random sample where there are very many.")
    of_models: int | None = Field(description="Networks with pairs measured in both.")
    pairs: int | None
    reason: str | None

    @classmethod
    def of(cls, read: AgreementRead) -> Self:
        """The agreement as it is shown."""
        figures = ("spearman", "interval", "p_value", "mean_difference", "difference_interval")
        counts = ("models", "of_models", "pairs")
        return cls.model_validate(
            {name: getattr(read.found, name, None) for name in (*figures, *counts)}
            | {"comparisons": read.comparisons, "versions": read.versions, "reason": read.reason}
        )
