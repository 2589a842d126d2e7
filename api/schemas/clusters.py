"""Clusters as the API shows them."""

from typing import Literal, Self

from pydantic import Field

from api.schemas.base import Answer
from registry.reads.clusters import Clusters as ClustersRead
from registry.reads.snapshot import Snapshot


class Cluster(Answer):
    """Models that adversarial images fool together."""

    cluster: int
    models: list[str]
    keywords: list[str] = Field(description="Components that set it apart, by TF-IDF.")


class Clusters(Answer):
    """Spectral clusters of all models of a comparison."""

    comparison: str
    version: int = Field(description="The version that they were computed from.")
    stale: bool = Field(description="Newer ones are being measured or computed: ask again.")
    k: int
    suggested_k: int | None = Field(description="The k with the best silhouette; null when k was given.")
    stability: float | None = Field(description="Mean adjusted Rand index between repetitions: 1 is the same always.")
    silhouette: float | None
    items: list[Cluster]
    missing: int = Field(description="Pairs that newer clusters wait for.")
    failure: str | None = Field(description="Why newer ones could not be computed; null unless that was tried.")
    left_out: list[str] = Field(
        description="Models in no cluster: not prepared yet, failed, suspect, newer, or with a pair that cannot have a "
        "score."
    )

    @classmethod
    def of(cls, read: ClustersRead, snapshot: Snapshot, *, version: int, missing: int, failure: str | None) -> Self:
        """The clusters as they are shown. version: of the result."""
        return cls(
            comparison=snapshot.comparison.name,
            version=version,
            stale=missing > 0 or version < snapshot.comparison.version,
            k=read.k,
            suggested_k=read.k if read.suggested else None,
            stability=read.stability,
            silhouette=read.silhouette,
            items=[Cluster.model_validate(each) for each in read.items],
            missing=missing,
            failure=failure,
            left_out=list(read.left_out),
        )


class Pending(Answer):
    """A light job computes the answer: ask again after Retry-After seconds."""

    status: Literal["pending"]
    detail: str
