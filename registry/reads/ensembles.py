"""Which models to combine, chosen from a snapshot, and the question to a light job what that is worth."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from registry.errors import InvalidError
from registry.reads.snapshot import Snapshot
from registry.reads.zoo import Model, Network
from registry.tables import ModelState, Part
from sat_engine.ensembles import Candidate, Ensemble, LeftOut, Objective, Zoo, recommend_from
from sat_engine.errors import InfeasibleError

GIGA = 10**9


@dataclass(frozen=True, kw_only=True, slots=True)
class EnsembleQuery:
    """What an ensemble is wanted for. include and exclude hold names, aliases or digests."""

    n: int
    objective: Objective = Objective.BLEND
    weight: float = 0.5
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    min_accuracy: float | None = None
    max_parameters: int | None = None
    max_gmacs: float | None = None
    max_per_family: int | None = None
    max_per_cluster: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Choice:
    """The chosen members with their networks, in the ensemble's order. question: an analysis's parameters."""

    snapshot: Snapshot
    ensemble: Ensemble
    members: tuple[tuple[Model, Network], ...]
    left_out: tuple[LeftOut, ...]
    question: Mapping[str, Any]


def choose_ensemble(snapshot: Snapshot, query: EnsembleQuery, cluster_of: Mapping[int, int] | None = None) -> Choice:
    """Choose n models; InvalidError names the constraint that binds, NotFoundError an unknown name.

    cluster_of: the cluster of each network, for max_per_cluster; one that is in none does not count.
    """
    include = {snapshot.find(name).name for name in query.include}
    exclude = {snapshot.find(name).name for name in query.exclude}
    shortlist = _shortlist(snapshot, include)
    pool, left_out = shortlist.pool, shortlist.left_out
    if query.n > len(pool):
        raise InvalidError(
            f"n = {query.n} is too many: only {len(pool)} models can be chosen from in {snapshot.comparison.name}.",
            left_out=[{"model": each.id, "reason": each.reason} for each in left_out],
        )
    try:
        ensemble = recommend_from(
            shortlist.zoo if cluster_of is None else _clustered(shortlist, cluster_of),
            query.n,
            objective=query.objective,
            weight=query.weight,
            include=include,
            exclude=exclude & {model.name for model, _ in pool},
            min_accuracy=query.min_accuracy,
            max_parameters=query.max_parameters,
            max_macs=None if query.max_gmacs is None else round(query.max_gmacs * GIGA),
            max_per_family=query.max_per_family,
            max_per_cluster=query.max_per_cluster,
        )
    except InfeasibleError as error:
        raise InvalidError(
            str(error), left_out=[{"model": each.id, "reason": each.reason} for each in left_out]
        ) from error
    return _choice(snapshot, ensemble, pool, left_out)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Shortlist:
    """Who may be recommended, as the engine takes them, and who not."""

    pool: list[tuple[Model, Network]]
    left_out: list[LeftOut]
    zoo: Zoo


def _shortlist(snapshot: Snapshot, include: Collection[str]) -> _Shortlist:
    """The shortlist of a snapshot is kept: it serves every request that includes none but models that are in it."""
    usual = snapshot.once("shortlist", lambda: _make_shortlist(snapshot, ()))
    return usual if usual.zoo.position.keys() >= set(include) else _make_shortlist(snapshot, include)


def _make_shortlist(snapshot: Snapshot, include: Collection[str]) -> _Shortlist:
    pool, left_out = eligible(snapshot, include)
    pool.sort(key=lambda each: each[0].name)
    rows = np.array([snapshot.position[network.id] for _, network in pool], dtype=np.int64)
    parts = set(snapshot.comparison.parts)
    candidates = [_candidate(snapshot, model, network, parts) for model, network in pool]
    return _Shortlist(pool=pool, left_out=left_out, zoo=Zoo(candidates, snapshot.cells.sat[np.ix_(rows, rows)]))


def _clustered(shortlist: _Shortlist, cluster_of: Mapping[int, int]) -> Zoo:
    """The shortlist's zoo, each candidate with its cluster."""
    network_of = {model.name: network.id for model, network in shortlist.pool}
    zoo = shortlist.zoo
    candidates = [replace(each, cluster=cluster_of.get(network_of[each.id])) for each in zoo.candidates]
    return Zoo(candidates, zoo.sat)


def eligible(snapshot: Snapshot, include: Collection[str]) -> tuple[list[tuple[Model, Network]], list[LeftOut]]:
    """The models that a recommendation may name, and the others of the task with the reason.

    A suspect model only when `include` names it. Of the models that share a network the first, or the included one.
    """
    pool: dict[int, tuple[Model, Network]] = {}
    left_out = []
    models = [model for model in snapshot.zoo.models if model.task_id == snapshot.comparison.task_id]
    for model in sorted(models, key=lambda each: (each.name not in include, each.name)):
        if not model.measured or model.network is None:
            state = "it failed" if model.state is ModelState.FAILED else "it is still being prepared"
            left_out.append(LeftOut(id=model.name, reason=f"{state}{f': {model.failure}' if model.failure else ''}"))
        elif model.state is ModelState.SUSPECT and model.name not in include:
            left_out.append(LeftOut(id=model.name, reason=f"it is suspect: {model.concern}"))
        elif model.state is ModelState.ARCHIVED and model.name not in include:
            left_out.append(LeftOut(id=model.name, reason="it is archived"))
        elif model.network.id in pool:
            left_out.append(LeftOut(id=model.name, reason=f"the same network as {pool[model.network.id][0].name}"))
        else:
            pool[model.network.id] = (model, model.network)
    return list(pool.values()), left_out


def _candidate(snapshot: Snapshot, model: Model, network: Network, parts: set[Part]) -> Candidate:
    solo = snapshot.solo(model)
    # judging the ensemble takes the logits of every part that the image set has
    evaluated = parts <= solo.accuracies.keys()
    return Candidate(
        id=model.name,
        accuracy=solo.accuracy.rate if solo.accuracy and evaluated else None,
        parameters=network.parameters,
        macs=network.macs,
        family=network.family,
    )


def _choice(
    snapshot: Snapshot, ensemble: Ensemble, pool: list[tuple[Model, Network]], left_out: list[LeftOut]
) -> Choice:
    by_name = {model.name: (model, network) for model, network in pool}
    not_considered = {each.id for each in ensemble.left_out}
    members = tuple(by_name[member.id] for member in ensemble.members)
    return Choice(
        snapshot=snapshot,
        ensemble=ensemble,
        members=members,
        left_out=tuple(sorted([*left_out, *ensemble.left_out], key=lambda each: each.id)),
        question={
            "members": sorted(network.id for _, network in members),
            "candidates": sorted(network.id for model, network in pool if model.name not in not_considered),
            "n": len(members),
        },
    )
