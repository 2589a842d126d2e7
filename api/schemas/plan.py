"""What registering would cost, as the API shows it."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Self

from pydantic import Field

from api.schemas.base import Answer
from registry.plans import Cost as CostRead
from registry.plans import RegistrationPlan

HOUR = 3600


class PlanOfModel(Answer):
    """One of the models; `present` models cost nothing."""

    name: str
    gmacs: float
    gmacs_known: bool = Field(description="Measured of this architecture; otherwise estimated from its parameters.")
    parameters: int
    last_rung: int
    present: bool = Field(description="The name is taken.")
    same: bool | None = Field(description="By the same content: registering it again would be harmless.")
    shared: bool = Field(
        description="Its content is there under another name, or twice in this plan: it costs nothing."
    )
    elsewhere: bool = Field(description="It is of another task, and not measured in this comparison.")


class PlanRates(Answer):
    """Seconds a GMAC (10^9 multiply-accumulates) on one worker; an attack's are those of its gradients."""

    device: str
    evaluate: float
    attack: float
    transfer: float
    measured: list[str] = Field(description="What was measured on this device; the rest is assumed.")


class Cost(Answer):
    """Of one rung, or of all."""

    cells: int
    device_hours: float = Field(description="Of one worker's device: GPU-hours, where it is a GPU.")
    hours_by_work: Mapping[str, float]
    bytes: int
    bytes_by_kind: Mapping[str, int]
    finish_seconds: float | None = Field(
        description="From now, after what waits already and goes first; null without a worker."
    )
    finish_at: datetime | None

    @classmethod
    def of(cls, read: CostRead) -> Self:
        """The cost as it is shown."""
        left = read.finish_seconds
        return cls(
            cells=read.cells,
            device_hours=read.device_seconds / HOUR,
            hours_by_work={work: seconds / HOUR for work, seconds in read.seconds.items()},
            bytes=sum(read.bytes.values()),
            bytes_by_kind=read.bytes,
            finish_seconds=left,
            finish_at=None if left is None else datetime.now(UTC) + timedelta(seconds=left),
        )


class Plan(Answer):
    """What registering these models would cost in one comparison; nothing was started."""

    comparison: str
    models: list[PlanOfModel]
    against: int = Field(description="Networks that the new ones are measured against.")
    correct: float = Field(description="The share of images that a network is taken to classify correctly.")
    workers: int = Field(description="Compute workers that are there.")
    rates: PlanRates
    backlog_seconds: float | None = Field(description="What waits already; null without a worker.")
    also: list[str] = Field(description="Other comparisons that would measure them, too: plan these separately.")
    rung_0: Cost = Field(description="The first images alone.")
    total: Cost

    @classmethod
    def of(cls, read: RegistrationPlan) -> Self:
        """The plan as it is shown."""
        return cls(
            comparison=read.comparison,
            models=[
                PlanOfModel(
                    name=each.name,
                    gmacs=each.gmacs,
                    gmacs_known=each.gmacs_known,
                    parameters=each.parameters,
                    last_rung=each.rungs - 1,
                    present=each.present,
                    same=each.same,
                    shared=each.shared,
                    elsewhere=each.elsewhere,
                )
                for each in read.newcomers
            ],
            against=read.against,
            correct=read.correct,
            workers=read.workers,
            rates=PlanRates(
                device=read.rates.device,
                measured=sorted(read.rates.measured),
                **{work.value: seconds for work, seconds in read.rates.seconds.items()},
            ),
            backlog_seconds=read.backlog_seconds,
            also=list(read.also),
            rung_0=Cost.of(read.rung_0),
            total=Cost.of(read.everything),
        )
