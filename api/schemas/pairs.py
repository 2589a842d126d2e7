"""Scores between models as the API shows them."""

from typing import Annotated, Any, Self

from pydantic import ConfigDict, Field

from api.schemas.base import Answer, Page
from registry.reads.listed_pairs import ListedPair, PairList
from registry.reads.pairs import Pair as PairRead
from registry.reads.scores import Direction, Obtained
from registry.reads.similar import Similar as SimilarRead
from registry.reads.snapshot import Snapshot
from registry.reads.solo import Share

Interval = Annotated[tuple[float, float], Field(description="95 % interval: low, high.")]


class Neighbour(Answer):
    """Another model, seen from the one asked about."""

    model: str
    sat: float = Field(description="Natural logarithm of `percent`.")
    percent: float = Field(description="Images that fool the other model, of both directions, 0 to 100.")
    interval: Interval
    n: int = Field(description="Images that both classify correctly.")
    fools: float | None = Field(description="Share of n on which the model's adversarial images fool the other.")
    fooled_by: float | None = Field(description="Share of n on which the other's adversarial images fool the model.")
    obtained: Obtained
    direction: Direction | None = Field(description="Of a one-sided score: from the model asked about, or onto it.")
    rung: int = Field(description="0: the first images only (the set's prefix); 1: the whole attack part.")
    flags: list[str]


class Similar(Answer):
    """A model's neighbours."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "model": "resnet-a",
                    "comparison": "digits/pgd",
                    "version": 41,
                    "missing": 3,
                    "not_comparable": [],
                    "items": [
                        {
                            "model": "resnet-b",
                            "sat": 4.1,
                            "percent": 60.2,
                            "interval": [3.98, 4.21],
                            "n": 812,
                            "fools": 0.62,
                            "fooled_by": 0.58,
                            "obtained": "measured",
                            "direction": None,
                            "rung": 1,
                            "flags": [],
                        }
                    ],
                    "next": None,
                    "total": 1,
                }
            ]
        }
    )

    model: str
    comparison: str
    version: int
    missing: int = Field(description="Models whose score with this one is still to be measured.")
    not_comparable: list[str] = Field(description="Models that share no correctly classified image with this one.")
    items: list[Neighbour]
    next: str | None
    total: int = Field(description="Neighbours on all pages.")

    @classmethod
    def of(cls, read: SimilarRead, next_page: str | None) -> Self:
        """The page as it is shown."""
        return cls(
            model=read.model,
            comparison=read.comparison,
            version=read.version,
            missing=read.missing,
            not_comparable=list(read.not_comparable),
            items=[Neighbour.model_validate(each) for each in read.items],
            next=next_page,
            total=read.total,
        )


class PairRecord(Answer):
    """One pair in a list; `sat` is null where no image is classified correctly by both."""

    a: str
    b: str
    sat: float | None = Field(description="Natural logarithm of `percent`.")
    percent: float | None = Field(description="Images that fool the other model, of both directions, 0 to 100.")
    interval: Interval | None
    n: int = Field(description="Images that both classify correctly.")
    a_fools_b: float | None = Field(description="Share of n on which a's adversarial images fool b.")
    b_fools_a: float | None
    obtained: Obtained
    direction: Direction | None = Field(description="Of a one-sided score: from a (outgoing), or onto it.")
    rung: int = Field(description="0: the first images only (the set's prefix); 1: the whole attack part.")
    flags: list[str]

    @classmethod
    def of(cls, read: ListedPair) -> Self:
        """The pair as it is shown."""
        score = read.score
        same = {name: getattr(score, name) for name in ("sat", "percent", "interval", "n", "obtained", "direction")}
        return cls.model_validate(
            same
            | {
                "a": read.a,
                "b": score.model,
                "a_fools_b": score.fools,
                "b_fools_a": score.fooled_by,
                "rung": score.rung,
                "flags": score.flags,
            }
        )


class PairPage(Page[PairRecord]):
    """One page of pairs."""

    comparison: str
    version: int

    @classmethod
    def of(cls, read: PairList, next_page: str | None) -> Self:
        """The page as it is shown."""
        return cls(
            comparison=read.comparison,
            version=read.version,
            items=[PairRecord.of(each) for each in read.items],
            next=next_page,
            total=read.total,
        )


class Count(Answer):
    """A count of the pair's n images."""

    count: int
    rate: float


class FooledCounts(Answer):
    """What the score is made of; null where a direction is not measured."""

    a_fools_b: Count | None
    b_fools_a: Count | None
    both: int | None


class RungCounts(Answer):
    """The counts of one rung."""

    rung: int
    n: int
    a_fools_b: int | None
    b_fools_a: int | None


class Controls(Answer):
    """Rates to hold a direction against; floor and ceiling exist for unequal input sizes only."""

    floor: float | None = Field(description="The target is wrong on the source's clean image, resized.")
    ceiling: float | None = Field(description="The source is fooled by its own image after target size and back.")
    noise: float | None = Field(description="Random noise of the same size fools the target.")


class BothControls(Answer):
    """The controls of both directions."""

    a_to_b: Controls
    b_to_a: Controls


class Digests(Answer):
    """The networks' digests, hexadecimal; null while a model is being prepared."""

    a: str | None
    b: str | None


class Maker(Answer):
    """Where a part of the result was computed."""

    code_version: str
    device: str
    numeric_path: str
    worker: str


class Pair(Answer):
    """One pair in full; `sat` is null, with a `reason`, where there is no score."""

    a: str
    b: str
    comparison: str
    version: int
    sat: float | None
    percent: float | None
    interval: Interval | None
    percent_interval: Interval | None
    n: int | None
    fooled: FooledCounts
    obtained: Obtained | None
    direction: Direction | None
    rung: int | None
    flags: list[str]
    reason: str | None
    rungs: list[RungCounts]
    controls: BothControls
    digests: Digests
    made_by: list[Maker]
    protocol: str
    image_set: str

    @classmethod
    def of(cls, read: PairRead, snapshot: Snapshot) -> Self:
        """The pair as it is shown."""
        comparison, score = snapshot.comparison, read.score
        scored: dict[str, Any] = {
            field: getattr(score, field, None)
            for field in ("sat", "percent", "interval", "percent_interval", "n", "obtained", "direction", "rung")
        }
        return cls.model_validate(
            scored
            | {
                "a": read.a.name,
                "b": read.b.name,
                "comparison": comparison.name,
                "version": comparison.version,
                "fooled": {
                    "a_fools_b": _count(read.a_fools_b),
                    "b_fools_a": _count(read.b_fools_a),
                    "both": read.both,
                },
                "flags": score.flags if score else (),
                "reason": read.reason,
                "rungs": read.rungs,
                "controls": {"a_to_b": read.a_to_b, "b_to_a": read.b_to_a},
                "digests": {
                    side: model.network.digest if model.network else None
                    for side, model in (("a", read.a), ("b", read.b))
                },
                "made_by": read.made_by,
                "protocol": comparison.protocol,
                "image_set": comparison.image_set,
            }
        )


class Matrix(Answer):
    """All scores; row and column i belong to models[i], the diagonal is self-fooling."""

    comparison: str
    version: int
    models: list[str]
    missing: int = Field(description="Pairs without a score.")
    sat: list[list[float | None]] = Field(description="Rounded to 6 decimals; null where there is no score.")
    obtained: list[list[Obtained | None]]


def _count(share: Share | None) -> dict[str, float] | None:
    return None if share is None else {"count": share.count, "rate": share.rate}
