"""Clusters: what a light job found, in the names of now."""

import math
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from registry.errors import InvalidError, NotReadyError
from registry.reads.snapshot import Snapshot
from registry.tables import ModelState

SHOWN_MODELS = 5


@dataclass(frozen=True, kw_only=True, slots=True)
class Cluster:
    """Models that adversarial images fool together, and the components that set them apart."""

    cluster: int
    models: tuple[str, ...]
    keywords: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Clusters:
    """A clustering. left_out: models of the task whose network is in no cluster."""

    k: int
    suggested: bool
    stability: float | None
    silhouette: float | None
    items: tuple[Cluster, ...]
    left_out: tuple[str, ...]


def require_so_many(snapshot: Snapshot, k: int | None) -> None:
    """InvalidError for more clusters than networks that can be in one."""
    networks = len(_trusted(snapshot))
    if k is not None and k > networks:
        raise InvalidError(
            f"k = {k} is too large: {snapshot.comparison.name} holds {networks} networks that are not suspect. Ask for "
            "fewer clusters, or leave k out."
        )


def count_open_pairs(snapshot: Snapshot) -> int:
    """The pairs that clusters, and the map, still wait for.

    A pair that can never have a score is none: its network is left out.
    """
    networks = _trusted(snapshot)
    rows = [snapshot.position[each] for each in networks]
    cells = np.ix_(rows, rows)
    never = snapshot.is_unattackable[rows]
    waits = np.triu((snapshot.cells.both[cells] < 0) & (snapshot.cells.n[cells] != 0), 1)
    waits &= ~(never[:, None] | never)
    place = {network: index for index, network in enumerate(networks)}
    for each in snapshot.refusals:
        # a pair refused on rung 1 has the score of rung 0, or will have it
        if each.rung == 0 and {each.source_id, each.target_id} <= place.keys():
            first, second = sorted((place[each.source_id], place[each.target_id]))
            waits[first, second] = False
    return int(waits.sum())


def pairs_missing(snapshot: Snapshot, missing: int, what: str, estimate_seconds: float | None) -> NotReadyError:
    """Says how many pairs are missing, how long they will take, and which wait for somebody to try again."""
    pairs = math.comb(len(_trusted(snapshot)), 2)
    how_long = f"about {estimate_seconds:.0f} s at the present pace" if estimate_seconds else "GET /jobs says when"
    failed = [
        model.name
        for model in snapshot.members
        if model.state is ModelState.READY and model.network and model.network.id in snapshot.failures
    ]
    retry = f" Some wait for POST /models/<model>/retry of {', '.join(failed[:SHOWN_MODELS])}." if failed else ""
    return NotReadyError(
        f"{missing} of {pairs} pairs are still to be measured ({how_long}), and {what} need them all.{retry}",
        missing=missing,
    )


def _trusted(snapshot: Snapshot) -> list[int]:
    """The networks that a worker clusters, ascending: those that some model names which is not suspect."""
    ready = (model.network for model in snapshot.members if model.state is ModelState.READY)
    return sorted({network.id for network in ready if network})


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
