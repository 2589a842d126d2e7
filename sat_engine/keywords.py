"""What a cluster has that others have not: TF-IDF over the architectures' components (the paper's Table 1)."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from math import log

import numpy as np
from numpy.typing import ArrayLike


def keywords(components: Sequence[Mapping[str, str | None]], labels: ArrayLike, top: int = 5) -> list[list[str]]:
    """Return for each cluster 0, 1, … its `top` words by mean TF-IDF, best first, ties alphabetically.

    A component with its value is a word ("Stem layer: 3x3 conv s2"), an architecture is a document. A component
    whose value is None is no word. tf = 1 / words in the document, idf = ln(documents / documents with the word);
    a word that every architecture has says nothing (idf 0) and is left out, so a list may be shorter than `top`.
    """
    cluster_of = [int(label) for label in np.asarray(labels).ravel()]
    if len(cluster_of) != len(components):
        raise ValueError(f"{len(components)} architectures, but {len(cluster_of)} cluster labels")
    documents = [_words(architecture) for architecture in components]
    seen_in = Counter(word for document in documents for word in document)
    sizes = Counter(cluster_of)
    weights: list[dict[str, float]] = [defaultdict(float) for _ in range(max(cluster_of, default=-1) + 1)]
    for document, cluster in zip(documents, cluster_of, strict=True):
        for word in document:
            idf = log(len(documents) / seen_in[word])
            weights[cluster][word] += idf / len(document) / sizes[cluster]
    return [_best(of_cluster, top) for of_cluster in weights]


def _words(architecture: Mapping[str, str | None]) -> list[str]:
    """Return "Component name: value" for each component that is known."""
    named = ((name.replace("_", " "), value) for name, value in architecture.items())
    return [f"{name[:1].upper()}{name[1:]}: {value}" for name, value in named if value is not None]


def _best(weights: Mapping[str, float], top: int) -> list[str]:
    # rounded, so that the order in which equal weights were summed cannot decide between two words
    ranked = sorted((-round(weight, 12), word) for word, weight in weights.items())
    return [word for weight, word in ranked[:top] if weight < 0]
