"""Models as the API shows them."""

from datetime import datetime
from typing import Any, Literal, Self

from pydantic import Field

from api.schemas.base import GIGA, Answer, Page
from registry.reads.models import ModelDetail as DetailRead
from registry.reads.models import ModelSummary as SummaryRead
from registry.reads.progress import Stage
from registry.reads.solo import Share
from registry.reads.zoo import Model
from registry.restoring import reference_of
from registry.tables import ModelState, Part, Source


class Progress(Answer):
    """How far the measuring has come. Pairs are with the other measured models; a cell is one direction on one rung."""

    stage: Stage
    reason: str | None = Field(description="What failed, or could not be measured; POST /models/<model>/retry.")
    pairs_measured: int
    pairs: int
    cells_measured: int
    cells: int
    complete: bool = Field(description="Nothing is left to measure.")
    prefix_complete: bool = Field(description="Nothing is left on the first rung: every score is there, if coarse.")
    fraction: float = Field(description="Of the work, 0 to 1.")


class ModelSummary(Answer):
    """A model in a list."""

    name: str
    aliases: list[str]
    digest: str | None = Field(description="Of the network, hexadecimal; null until the model is prepared.")
    state: ModelState
    failure: str | None
    concern: str | None = Field(description="Why it is suspect, and what to check.")
    architecture: str
    base: str | None
    family: str | None
    parameters: int | None
    gmacs: float | None = Field(description="10^9 multiply-accumulates of one image.")
    accuracy: float | None = Field(description="Top-1, 0 to 1, on the select part (or attack, where there is none).")
    tags: list[str]
    owner: str = Field(description="The team that may change it; empty where no keys are needed.")
    created_at: datetime
    deleted_at: datetime | None
    reference: str = Field(description="What POST /models/<reference>/restore takes, once the model is deleted.")
    progress: Progress

    @classmethod
    def of(cls, read: SummaryRead) -> Self:
        """The summary as it is shown."""
        return cls.model_validate(summary_fields(read))


class Input(Answer):
    """What the network is fed."""

    size: int
    channels: int
    mean: list[float]
    std: list[float]


class TaskShape(Answer):
    """The model's task."""

    name: str
    classes: int


class Correct(Answer):
    """How many of n images are classified correctly."""

    correct: int
    n: int
    rate: float


class Fooled(Answer):
    """How many of n images fool the network."""

    fooled: int
    n: int
    rate: float


class Accuracies(Answer):
    """Clean top-1 accuracy on each part of the image set."""

    attack: Correct | None
    select: Correct | None
    report: Correct | None


class ModelLinks(Answer):
    """Where to go on."""

    self: str
    similar: str
    checkpoint: str
    card: str
    events: str


class ModelDetail(ModelSummary):
    """One model."""

    description: str
    license: str | None
    source: Source
    pretrained: str | None
    model_args: dict[str, Any]
    input: Input | None = Field(description="Null while only the catalogue's weights say.")
    task: TaskShape
    class_map: list[int] | None = Field(description="The output for each class of the task, in its order.")
    components: dict[str, str | None] = Field(description="The paper's 13 components; null where it cannot be told.")
    accuracies: Accuracies
    self_fooling: Fooled | None = Field(description="Own adversarial images that fool the network itself.")
    noise: Fooled | None = Field(description="Images that random noise of the same size makes it get wrong.")
    flags: list[str]
    supersedes: str | None
    expected_accuracy: float | None
    last_rung: int = Field(description="0: measured on the prefix only; 1: on all images.")
    revision: int = Field(description="Raised by every change; the ETag begins with it.")
    numeric_path: str | None
    links: ModelLinks

    @classmethod
    def of_detail(cls, read: DetailRead) -> Self:
        """The model as it is shown."""
        model = read.summary.model
        parts = read.summary.solo.accuracies
        path = f"/models/{model.name}"
        return cls.model_validate(
            summary_fields(read.summary)
            | {
                "description": read.description,
                "license": read.license,
                "source": model.source,
                "pretrained": model.declaration.get("pretrained"),
                "model_args": model.network.model_args if model.network else model.declaration.get("model_args", {}),
                "input": _input(model),
                "class_map": model.network.class_map if model.network else None,
                "task": {"name": read.task.name, "classes": len(read.task.classes)},
                "components": model.network.components if model.network else {},
                "accuracies": {part.value: _share("correct", parts.get(part)) for part in Part},
                "self_fooling": _share("fooled", read.self_fooling),
                "noise": _share("fooled", read.noise),
                "flags": read.flags,
                "supersedes": read.supersedes,
                "expected_accuracy": model.expected_accuracy,
                "last_rung": model.last_rung,
                "revision": read.revision,
                "numeric_path": read.numeric_path,
                "links": {
                    "self": path,
                    "similar": f"/similar/{model.name}",
                    "checkpoint": f"{path}/checkpoint",
                    "card": f"{path}/card",
                    "events": f"{path}/events",
                },
            }
        )


class ModelPage(Page[ModelSummary]):
    """One page of models."""


SortKey = Literal[
    "name",
    "-name",
    "created_at",
    "-created_at",
    "accuracy",
    "-accuracy",
    "parameters",
    "-parameters",
    "gmacs",
    "-gmacs",
    "relevance",
]


def summary_fields(read: SummaryRead) -> dict[str, Any]:
    """The fields of a summary, flat."""
    model, network = read.model, read.network
    return {
        "name": model.name,
        "aliases": model.aliases,
        "digest": network.digest if network else None,
        "state": model.state,
        "failure": model.failure,
        "concern": model.concern,
        "architecture": model.architecture,
        "base": network.base if network else None,
        "family": network.family if network else None,
        "parameters": network.parameters if network else None,
        "gmacs": network.macs / GIGA if network else None,
        "accuracy": read.solo.accuracy.rate if read.solo.accuracy else None,
        "tags": model.tags,
        "owner": model.owner,
        "created_at": model.created_at,
        "deleted_at": model.deleted_at,
        "reference": reference_of(model.id),
        "progress": read.progress,
    }


def _share(word: str, share: Share | None) -> dict[str, float] | None:
    return None if share is None else {word: share.count, "n": share.n, "rate": share.rate}


def _input(model: Model) -> dict[str, Any] | None:
    network = model.network
    if network is None:
        declared: dict[str, Any] | None = model.declaration.get("input")
        return declared
    return {"size": network.input_side, "channels": network.channels, "mean": network.mean, "std": network.std}
