"""A map of models: t-SNE (van der Maaten and Hinton, 2008) by SAT, as the paper's figure 1 shows its models."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import log
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.manifold import TSNE, trustworthiness

from sat_engine.errors import NotComputableError

__all__ = ["Placement", "place"]

PERPLEXITY = 30.0  # t-SNE's usual one: about how many neighbours a model should keep; fewer in a small zoo
NEIGHBOURS = 10  # that the quality figure looks at
FEWEST = 10  # with fewer, t-SNE throws points about: they are placed by classical scaling alone
START_SIZE = 1e-4  # standard deviation of the first coordinate at the start, as t-SNE's implementations take it

Floats: TypeAlias = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, slots=True)
class Placement:
    """Where n models lie in the plane. Only nearness means anything: axes, turns and far distances do not."""

    coordinates: Floats  # (n, 2), centred
    perplexity: float | None  # None where so few models were placed by their distances alone
    trustworthiness: float | None  # in [0, 1]: 1 where everybody's neighbours on the map are so by SAT; None for few


def place(sat: ArrayLike, *, ids: Sequence[str], seed: int = 0) -> Placement:
    """Return a place for each of the n models of `sat` (n, n), symmetric, natural log of a percentage.

    The distance is ln 100 - SAT; the diagonal is not read. It starts from classical scaling, so nothing but ties is
    left to the seed, and `ids` (all different) fix the order, so that the order in which models come changes nothing.

    Raises NotComputableError when there are no models or pairs are missing.
    """
    scores = np.asarray(sat, dtype=np.float64)
    n = len(scores)
    if n == 0:
        raise NotComputableError("There are no models to place yet: register some first.")
    order = sorted(range(n), key=ids.__getitem__)
    distances = np.maximum(log(100.0) - scores[np.ix_(order, order)], 0.0)
    np.fill_diagonal(distances, 0.0)
    if missing := int(np.isnan(distances).sum() + 1) // 2:
        raise NotComputableError(f"{missing} of {n * (n - 1) // 2} pairs have no score yet: wait until they have one.")
    start = _classical_scaling(distances)
    perplexity = min(PERPLEXITY, (n - 1) / 3)
    placed = start if n < FEWEST else _spread(distances, start, perplexity, seed)
    coordinates = np.empty_like(placed)
    coordinates[order] = placed - placed.mean(axis=0)
    neighbours = min(NEIGHBOURS, n // 2 - 1)
    return Placement(
        coordinates=coordinates,
        perplexity=None if n < FEWEST else perplexity,
        trustworthiness=float(trustworthiness(distances, placed, n_neighbors=neighbours, metric="precomputed"))
        if neighbours >= 1
        else None,
    )


def _spread(distances: Floats, start: Floats, perplexity: float, seed: int) -> Floats:
    scale = start[:, 0].std()
    # models that are all equally far from each other have no first coordinate to start from
    apart = start if scale > 0 else np.random.default_rng(seed).normal(size=start.shape)
    model = TSNE(
        perplexity=perplexity,
        metric="precomputed",
        init=apart / apart[:, 0].std() * START_SIZE,
        random_state=seed,
        n_jobs=1,
    )
    placed: Floats = model.fit_transform(distances).astype(np.float64)
    return placed


def _classical_scaling(distances: Floats) -> Floats:
    """Return (n, 2): Torgerson's scaling (1952); of both ends of an axis the one with the first large value is up."""
    centred = distances**2
    centred = centred - centred.mean(axis=0) - centred.mean(axis=1)[:, None] + centred.mean()
    values, vectors = np.linalg.eigh(-centred / 2)
    axes = np.zeros((len(distances), 2))
    for column, index in enumerate(np.argsort(-values)[:2]):
        vector = vectors[:, index]
        axes[:, column] = vector * np.sqrt(max(values[index], 0.0)) * np.sign(vector[np.argmax(np.abs(vector))])
    return axes
