"""Clusters: what a light job found, in the names of now."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from registry.errors import InvalidError, NotReadyError
from registry.reads.progress import read_comparison_progress
from registry.reads.snapshot import Snapshot


@dataclass(frozen=True, kw_only=True, slots=True)
class Cluster:
    """Models that adversarial images fool together, and the components that set them apart."""

    cluster: int
    models: tuple[str, ...]
    keywords: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Clusters:
    """A clustering. left_out: models of the task whose network it does not know."""

    k: int
    suggested: bool
    stability: float | None
    silhouette: float | None
    items: tuple[Cluster, ...]
    left_out: tuple[str, ...]


def require_clusterable(snapshot: Snapshot, k: int | None, estimate_seconds: float | None) -> None:
    """NotReadyError while pairs are missing, saying how many and how long; InvalidError for a k that cannot be."""
    progress = read_comparison_progress(snapshot)
    scored = sum(pair <= snapshot.position.keys() for pair in snapshot.refused)
    missing = progress.pairs - progress.pairs_measured
    if k is not None and k > progress.networks:
        raise InvalidError(
            f"k = {k} is too large: {snapshot.comparison.name} holds {progress.networks} networks. Ask for fewer "
            "clusters, or leave k out."
        )
    if missing:
        how_long = f"about {estimate_seconds:.0f} s at the present pace" if estimate_seconds else "GET /jobs says when"
        refused = f" {scored} of them could not be measured (GET /jobs)." if scored else ""
        raise NotReadyError(
            f"{missing} of {progress.pairs} pairs are still to be measured ({how_long}), and clusters need them all."
            f"{refused}",
            missing=missing,
        )


def name_clusters(snapshot: Snapshot, found: Mapping[str, Any]) -> Clusters:
    """An analysis's result with model names; models deleted since are gone from it. Clusters are counted from 1."""
    label_of = dict(zip(found["networks"], found["labels"], strict=True))
    models: defaultdict[int, list[str]] = defaultdict(list)
    left_out = []
    for model in snapshot.zoo.models:
        if model.task_id != snapshot.comparison.task_id:
            continue
        if model.measured and model.network and model.network.id in label_of:
            models[label_of[model.network.id]].append(model.name)
        else:
            left_out.append(model.name)
    return Clusters(
        k=found["k"],
        suggested=found["suggested"],
        stability=found["stability"],
        silhouette=found["silhouette"],
        items=tuple(
            Cluster(cluster=label + 1, models=tuple(names), keywords=tuple(found["keywords"][label]))
            for label, names in sorted(models.items())
        ),
        left_out=tuple(left_out),
    )
