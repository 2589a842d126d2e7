"""The map: where a light job placed the networks, in the names of now."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from registry.reads.snapshot import Snapshot


@dataclass(frozen=True, kw_only=True, slots=True)
class Point:
    """A model's place; only nearness means anything."""

    model: str
    x: float
    y: float
    base: str | None
    family: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Plane:
    """All places by name. left_out: models of the task whose network has none."""

    items: tuple[Point, ...]
    perplexity: float | None
    trustworthiness: float | None
    left_out: tuple[str, ...]


def name_places(snapshot: Snapshot, found: Mapping[str, Any]) -> Plane:
    """An analysis's result with model names; models deleted since are gone from it."""
    place_of = dict(zip(found["networks"], found["coordinates"], strict=True))
    items, left_out = [], []
    for model in snapshot.zoo.models:
        if model.task_id != snapshot.comparison.task_id:
            continue
        if model.measured and model.network and model.network.id in place_of:
            x, y = place_of[model.network.id]
            items.append(Point(model=model.name, x=x, y=y, base=model.network.base, family=model.network.family))
        else:
            left_out.append(model.name)
    return Plane(
        items=tuple(items),
        perplexity=found["perplexity"],
        trustworthiness=found["trustworthiness"],
        left_out=tuple(left_out),
    )
