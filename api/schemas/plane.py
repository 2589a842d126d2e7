"""The map, and the importance of components, as the API shows them."""

from collections.abc import Mapping
from typing import Any, Self

from pydantic import Field

from api.schemas.base import Answer
from registry.reads.plane import Plane
from registry.reads.snapshot import Snapshot

METHOD = (
    "Gradient boosting on which components differ between two models; what permuting one costs in R², on pairs with a "
    "model that the fit has not seen, over 10 groups of models left out in turn."
)


class Point(Answer):
    """A model's place on the map."""

    model: str
    x: float
    y: float
    base: str | None
    family: str | None


class Map(Answer):
    """All models in the plane, by t-SNE on the distance ln 100 - SAT: near ones are alike, far ones say nothing."""

    comparison: str
    version: int = Field(description="The version that it was computed from.")
    stale: bool = Field(description="A newer one is being measured or computed: ask again.")
    items: list[Point]
    perplexity: float | None = Field(
        description="About how many neighbours t-SNE keeps; null for fewer than 10 models."
    )
    trustworthiness: float | None = Field(description="1: whoever is near on the map is near by SAT. 0.5 is chance.")
    missing: int = Field(description="Pairs that a newer one waits for.")
    failure: str | None = Field(description="Why a newer one could not be computed; null unless that was tried.")
    left_out: list[str] = Field(description="Models without a place, for the reasons of /clusters.")

    @classmethod
    def of(cls, read: Plane, snapshot: Snapshot, *, version: int, missing: int, failure: str | None) -> Self:
        """The map as it is shown. version: of the result."""
        return cls(
            comparison=snapshot.comparison.name,
            version=version,
            stale=missing > 0 or version < snapshot.comparison.version,
            items=[Point.model_validate(each) for each in read.items],
            perplexity=read.perplexity,
            trustworthiness=read.trustworthiness,
            missing=missing,
            failure=failure,
            left_out=list(read.left_out),
        )


class Component(Answer):
    """What one of the 13 components has to do with SAT."""

    component: str
    importance: float = Field(description="What permuting it costs in R², mean over the groups left out.")
    least: float
    most: float
    varies: bool = Field(description="False: all models have the same, so nothing can be said of it.")


class Importance(Answer):
    """The components by importance, the largest first, and how far the fit behind it can be trusted."""

    comparison: str
    version: int = Field(description="The version that it was computed from.")
    stale: bool = Field(description="A newer one is being computed: ask again.")
    failure: str | None = Field(description="Why a newer one could not be computed; null unless that was tried.")
    models: int
    pairs: int
    r2_new_models: float = Field(description="R² for pairs with a model that the fit has not seen: the honest one.")
    r2_new_pairs: float = Field(description="R² for unseen pairs of models that it has seen.")
    r2_fit: float = Field(description="R² on what it was fitted to.")
    items: list[Component]
    method: str = METHOD

    @classmethod
    def of(cls, found: Mapping[str, Any], snapshot: Snapshot, *, version: int, failure: str | None) -> Self:
        """An analysis's result as it is shown. version: of the result."""
        figures = {name: value for name, value in found.items() if name != "components"}
        return cls(
            comparison=snapshot.comparison.name,
            version=version,
            stale=version < snapshot.comparison.version,
            failure=failure,
            items=[Component.model_validate(each) for each in found["components"]],
            **figures,
        )
