"""What the streams of events tell."""

from pydantic import Field

from api.schemas.base import Answer
from api.schemas.measuring import Comparison
from api.schemas.models import Progress
from registry.tables import ModelState


class ModelEvent(Answer):
    """How far a model is. It is sent again when anything but the version and the estimate has changed."""

    model: str
    state: ModelState
    failure: str | None
    concern: str | None
    comparison: str | None = Field(description="Null while nothing compares models of its task.")
    version: int | None
    progress: Progress
    estimate_seconds: float | None = Field(description="Until nothing is left in the whole registry.")


class RegistryEvent(Answer):
    """How far everything is. It is sent again when anything but the estimate has changed."""

    comparisons: list[Comparison]
    models: dict[str, int] = Field(description="How many there are, by state.")
    estimate_seconds: float | None
