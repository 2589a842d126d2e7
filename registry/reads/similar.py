"""The models nearest to one, or farthest from it."""

from dataclasses import dataclass
from enum import StrEnum

from registry.errors import ConflictError
from registry.reads.progress import count_missing
from registry.reads.scores import Neighbour, neighbours
from registry.reads.snapshot import Snapshot
from registry.reads.zoo import Model
from registry.tables import ModelState


class Order(StrEnum):
    """nearest: the highest SAT first."""

    NEAREST = "nearest"
    FARTHEST = "farthest"


@dataclass(frozen=True, kw_only=True, slots=True)
class Similar:
    """One page of a model's neighbours. missing: models whose score with it is still to be measured.

    not_comparable: models that share no correctly classified image with it, or whose cell was refused.
    """

    model: str
    comparison: str
    version: int
    missing: int
    not_comparable: tuple[str, ...]
    items: tuple[Neighbour, ...]
    more: bool


def read_similar(snapshot: Snapshot, reference: str, *, order: Order, k: int, start: int = 0) -> Similar:
    """Up to k neighbours from position `start` of the order; equal scores come by name.

    NotFoundError for an unknown model, ConflictError for a failed one.
    """
    model = snapshot.find(reference)
    require_not_failed(model)
    others = [other for other in snapshot.members if other.id != model.id]
    found = neighbours(snapshot, model, others)
    sign = -1 if order is Order.NEAREST else 1
    ranked = sorted(
        (each for each in found if each.sat is not None), key=lambda each: (sign * (each.sat or 0.0), each.model)
    )
    return Similar(
        model=model.name,
        comparison=snapshot.comparison.name,
        version=snapshot.comparison.version,
        missing=count_missing(snapshot, model),
        not_comparable=tuple(each.model for each in found if each.sat is None),
        items=tuple(ranked[start : start + k]),
        more=len(ranked) > start + k,
    )


def require_not_failed(model: Model) -> None:
    """ConflictError with the reason when the model failed: it is in no answer."""
    if model.state is ModelState.FAILED:
        raise ConflictError(
            f"{model.name} failed and is not measured: {model.failure} When the cause is gone, "
            f"POST /models/{model.name}/retry."
        )
