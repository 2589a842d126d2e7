"""Spectral clusters of models by SAT: Ng, Jordan and Weiss (2001), as the paper's section 4.1 uses it."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from math import log
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score, silhouette_score

from sat_engine.errors import NotComputableError
from sat_engine.keywords import keywords

__all__ = ["Clustering", "cluster", "keywords"]

SEEDS = 10  # partitions compared for the stability figure
STARTS = 50  # k-means starts of each: at 10 the published matrix's best partition is often missed, at 50 rarely
LARGEST_SUGGESTION = 20
WORK = 20_000  # models times starts of one partition: keeps 1,300 models within seconds

Floats: TypeAlias = NDArray[np.float64]
Labels: TypeAlias = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, slots=True)
class Clustering:
    """A partition of n models, with figures that say how far to trust it."""

    labels: Labels  # (n,) in 0 … k - 1; 0 is the largest cluster
    k: int
    suggested: bool  # k was chosen here, not by the caller
    stability: float  # mean adjusted Rand index between the partitions of different seeds: 1 is the same always
    silhouette: float | None  # mean over models, on ln 100 - SAT, in [-1, 1]; None for k = 1 and k = n


def cluster(
    sat: ArrayLike,
    *,
    k: int | None = None,
    floor_percent: float = 0.01,
    seed: int = 0,
    ids: Sequence[str] | None = None,
) -> Clustering:
    """Return k clusters of the n models of `sat` (n, n), symmetric, natural log of a percentage, NaN where missing.

    The affinity is SAT - ln floor_percent, never negative; the diagonal is not read. Without k, the k of 1 to
    min(20, n / 2) with the best silhouette is taken, and 1 where none is above 0. Clusters are numbered by size, then
    by their first member. Members are first put in the order of `ids`, or without them in an order read off the
    scores, so the answer does not depend on the order in which models come. The same seed gives the same answer.

    Raises NotComputableError when there are no models, pairs are missing, or k is not in 1 … n.
    """
    scores = _checked(np.asarray(sat, dtype=np.float64), k)
    order = _canonical_order(scores, ids)
    scores = scores[np.ix_(order, order)]
    space = _SpectralSpace(scores, floor_percent=floor_percent)
    chosen = _suggest(space, seed) if k is None else k
    partitions = _partitions(space, chosen, seed)
    best = _numbered(partitions[0])
    labels = np.empty_like(best)
    labels[order] = best
    return Clustering(
        labels=labels,
        k=chosen,
        suggested=k is None,
        stability=_stability(partitions),
        silhouette=space.silhouette(best),
    )


class _SpectralSpace:
    """The eigenvectors of the normalised affinity and the distances between models, computed once for every k."""

    def __init__(self, scores: Floats, *, floor_percent: float) -> None:
        affinity = np.maximum(scores - log(floor_percent), 0.0)
        np.fill_diagonal(affinity, 0.0)
        degree = affinity.sum(axis=1)
        # a model with no affinity to anybody is a block of its own, not an outcast at the origin
        affinity[degree == 0, degree == 0] = 1.0
        scale = 1.0 / np.sqrt(np.where(degree == 0, 1.0, degree))
        _, vectors = np.linalg.eigh(affinity * scale[:, None] * scale[None, :])
        self.vectors: Floats = vectors[:, ::-1]  # largest eigenvalue first
        # ln 100 - SAT kept the triangle inequality on every triple of the published matrix
        self.distances: Floats = np.maximum(log(100.0) - scores, 0.0)
        np.fill_diagonal(self.distances, 0.0)
        self.n = len(scores)

    def embedding(self, k: int) -> Floats:
        """Return (n, k): the first k eigenvectors, each model's row scaled to length 1."""
        rows = self.vectors[:, :k]
        length = np.linalg.norm(rows, axis=1, keepdims=True)
        unit: Floats = np.divide(rows, length, out=np.zeros_like(rows), where=length > 0)
        return unit

    def silhouette(self, labels: Labels) -> float | None:
        """Return the mean silhouette on the distances ln 100 - SAT, or None where it is not defined."""
        if not 1 < int(labels.max()) + 1 < self.n:
            return None
        return float(silhouette_score(self.distances, labels, metric="precomputed"))

    def partition(self, k: int, seed: int, starts: int) -> tuple[float, Labels]:
        """Return the k-means cost and labels (n,) of the best of `starts` starts."""
        if k in (1, self.n):
            return 0.0, np.arange(self.n) % k
        fitted = KMeans(k, n_init=starts, random_state=seed).fit(self.embedding(k))
        return float(fitted.inertia_), fitted.labels_.astype(np.int64)


def _suggest(space: _SpectralSpace, seed: int) -> int:
    """Return the k with the best silhouette, the smallest of equals; 1 where no partition is better than none."""
    # the eigengap was tried: on the published matrix, as on planted ones with uneven clusters, it always says 2
    best, suggestion = 0.0, 1
    for k in range(2, min(LARGEST_SUGGESTION, max(2, space.n // 2), space.n - 1) + 1):
        _, labels = space.partition(k, seed, SEEDS)
        silhouette = space.silhouette(labels)
        if silhouette is not None and silhouette > best + 1e-9:
            best, suggestion = silhouette, k
    return suggestion


def _partitions(space: _SpectralSpace, k: int, seed: int) -> list[Labels]:
    """Return the partitions of SEEDS seeds, the one of least k-means cost first."""
    starts = max(SEEDS, min(STARTS, WORK // space.n))
    seeds = np.random.SeedSequence(seed).generate_state(SEEDS)
    fits = [space.partition(k, int(each), starts) for each in seeds]
    return [labels for _, labels in sorted(fits, key=lambda fit: fit[0])]


def _stability(partitions: Sequence[Labels]) -> float:
    pairs = combinations(partitions, 2)
    return float(np.mean([adjusted_rand_score(one, other) for one, other in pairs]))


def _numbered(labels: Labels) -> Labels:
    """Return the same partition with its clusters numbered by size, then by first member."""
    _, first, cluster_of, sizes = np.unique(labels, return_index=True, return_inverse=True, return_counts=True)
    number = np.empty(len(sizes), dtype=np.int64)
    number[np.lexsort((first, -sizes))] = np.arange(len(sizes))
    return number[cluster_of]


def _canonical_order(scores: Floats, ids: Sequence[str] | None) -> NDArray[np.intp]:
    """Return the positions of the models in an order that does not depend on the one they came in."""
    if ids is not None:
        if len(set(ids)) != len(scores):
            raise ValueError(f"{len(scores)} models need as many different ids, not {len(set(ids))}")
        return np.array(sorted(range(len(ids)), key=ids.__getitem__), dtype=np.intp)
    profile = scores.copy()
    np.fill_diagonal(profile, np.inf)
    profile.sort(axis=1)
    return np.lexsort(profile.T[::-1])


def _checked(scores: Floats, k: int | None) -> Floats:
    """Return the scores, or raise a sentence that says why they cannot be clustered."""
    n = len(scores)
    if scores.shape != (n, n):
        raise ValueError(f"SAT must be a square matrix, not {scores.shape}")
    if n == 0:
        raise NotComputableError("There are no models to cluster yet: register some first.")
    off_diagonal = scores[~np.eye(n, dtype=bool)]
    if missing := int(np.isnan(off_diagonal).sum() + 1) // 2:
        raise NotComputableError(
            f"{missing} of {n * (n - 1) // 2} pairs have no score yet: wait until they are measured, or cluster "
            "the models whose pairs are complete."
        )
    if not np.allclose(scores, scores.T, equal_nan=True):
        raise ValueError("SAT must be symmetric")
    if k is not None and not 1 <= k <= n:
        raise NotComputableError(f"{k} clusters of {n} models cannot be: ask for 1 to {n}.")
    return (scores + scores.T) / 2
