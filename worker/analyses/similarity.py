"""Clusters, the map, and which components matter: what only the scores are needed for."""

from typing import Any

from registry.tables import AnalysisRow
from sat_engine import clustering, importance, plane
from worker.analyses.scores import read_scores
from worker.context import Context


def find_clusters(context: Context, row: AnalysisRow) -> dict[str, Any]:
    """Spectral clusters with keywords."""
    scores = read_scores(context, row.comparison_id, complete=True)
    found = clustering.cluster(scores.sat, k=row.parameters["k"], ids=scores.digests)
    return {
        "k": found.k,
        "suggested": found.suggested,
        "stability": found.stability,
        "silhouette": found.silhouette,
        "networks": scores.ids,
        "labels": found.labels.tolist(),
        "keywords": clustering.keywords(scores.components, found.labels),
    }


def draw_map(context: Context, row: AnalysisRow) -> dict[str, Any]:
    """A place in the plane for each network."""
    scores = read_scores(context, row.comparison_id, complete=True)
    placed = plane.place(scores.sat, ids=scores.digests)
    return {
        "networks": scores.ids,
        "coordinates": placed.coordinates.round(4).tolist(),
        "perplexity": placed.perplexity,
        "trustworthiness": placed.trustworthiness,
    }


def find_importance(context: Context, row: AnalysisRow) -> dict[str, Any]:
    """The importance of each component, over the networks of which any is known."""
    scores = read_scores(context, row.comparison_id, complete=False)
    known = [place for place, each in enumerate(scores.components) if any(each.values())]
    found = importance.explain(scores.sat[known][:, known], [scores.components[place] for place in known])
    return {
        "models": found.models,
        "pairs": found.pairs,
        "r2_fit": found.r2_fit,
        "r2_new_pairs": found.r2_new_pairs,
        "r2_new_models": found.r2_new_models,
        "components": [
            {
                "component": each.component,
                "importance": each.importance,
                "least": each.least,
                "most": each.most,
                "varies": each.varies,
            }
            for each in found.components
        ],
    }
