"""analyse: the analyses of one comparison that were asked for, each recorded as soon as it is done."""

import logging
from collections import Counter
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import select
from sqlalchemy.exc import DBAPIError

from registry.analyses import pending_analyses, record_analysis
from registry.database import transaction
from registry.errors import RegistryError
from registry.jobs import finish
from registry.pending import trusted_networks
from registry.tables import (
    AnalysisKind,
    AnalysisRow,
    ComparisonRow,
    EvaluationRow,
    NetworkRow,
    PairRow,
    Part,
    RefusalRow,
)
from sat_engine.clustering import cluster, keywords
from sat_engine.ensemble_worth import Combine, choose_baselines, compare
from sat_engine.errors import EngineError
from sat_engine.io.tensors import read_arrays
from sat_engine.scores import MISSING, score_many
from worker.context import Context
from worker.images import image_set_of
from worker.lease import Lease

log = logging.getLogger(__name__)


def run(context: Context, lease: Lease) -> None:
    """Compute every analysis that is less fresh than it was asked to be."""
    claimed = lease.claim
    assert claimed.comparison_id is not None
    with context.sessions.begin() as session:
        rows = pending_analyses(session, claimed.comparison_id)
    for row in rows:
        lease.check()
        with context.sessions.begin() as session:
            # before the data: what is recorded as of this version holds at least all of it
            version = session.get_one(ComparisonRow, claimed.comparison_id).version
        result, failure = None, None
        try:
            result = _cluster(context, row) if row.kind is AnalysisKind.CLUSTERS else _judge(context, row)
        except (EngineError, RegistryError) as error:
            failure = str(error)
        except DBAPIError:
            raise
        except Exception as error:  # one broken analysis must not hold up the others
            log.exception("analysis of comparison %s", row.comparison_id)
            failure = f"it raised {type(error).__name__}; worker {context.worker_id} logged the traceback"
        with transaction(context.sessions, context.bell.ring) as session:
            record_analysis(session, claimed, row, version=version, result=result, failure=failure)
    with transaction(context.sessions, context.bell.ring) as session:
        finish(session, claimed)


def _cluster(context: Context, row: AnalysisRow) -> dict[str, Any]:
    with context.sessions.begin() as session:
        image_set = image_set_of(session, row.comparison_id)
        # a suspect model may share no correct image with another, and would make every clustering impossible
        ids = trusted_networks(session, image_set)
        networks = session.execute(
            select(NetworkRow.id, NetworkRow.digest, NetworkRow.components)
            .where(NetworkRow.id.in_(ids))
            .order_by(NetworkRow.id)
        ).all()
        pairs = session.execute(
            select(
                PairRow.a_id, PairRow.b_id, PairRow.n, PairRow.fooled_ab, PairRow.fooled_ba, PairRow.fooled_both
            ).where(PairRow.comparison_id == row.comparison_id, PairRow.a_id.in_(ids), PairRow.b_id.in_(ids))
        ).all()
        refused = session.execute(
            select(RefusalRow.source_id, RefusalRow.target_id)
            # a pair that lacks only its second rung keeps the score of its first
            .where(RefusalRow.comparison_id == row.comparison_id, RefusalRow.rung == 0)
            .distinct()
        ).all()
    hopeless = {frozenset(pair) for pair in refused} | {frozenset(pair[:2]) for pair in pairs if pair.n == 0}
    ids = _without_hopeless(ids, hopeless)
    networks = [network for network in networks if network.id in ids]
    pairs = [pair for pair in pairs if pair.a_id in ids and pair.b_id in ids]
    found = cluster(
        _matrix(ids, [tuple(pair) for pair in pairs]),
        k=row.parameters["k"],
        ids=[network.digest.hex() for network in networks],
    )
    return {
        "k": found.k,
        "suggested": found.suggested,
        "stability": found.stability,
        "silhouette": found.silhouette,
        "networks": ids,
        "labels": found.labels.tolist(),
        "keywords": keywords([network.components for network in networks], found.labels),
    }


def _without_hopeless(ids: list[int], hopeless: set[frozenset[int]]) -> list[int]:
    """The networks left when those with most pairs that can never have a score are taken out, the newest of equals."""
    left = list(ids)
    while stuck := Counter(each for pair in hopeless if pair <= set(left) for each in pair):
        left.remove(max(stuck, key=lambda each: (stuck[each], each)))
    return left


def _matrix(ids: list[int], pairs: list[tuple[int | None, ...]]) -> NDArray[np.float64]:
    """SAT (n, n) in the order of ids; NaN on the diagonal and where a pair is missing."""
    matrix = np.full((len(ids), len(ids)), np.nan)
    if pairs:
        counts = np.array([[MISSING if value is None else value for value in pair] for pair in pairs], np.int64)
        place = {network: index for index, network in enumerate(ids)}
        rows, columns = [place[a] for a in counts[:, 0].tolist()], [place[b] for b in counts[:, 1].tolist()]
        scores = score_many(counts[:, 2], counts[:, 3], counts[:, 4], counts[:, 5])
        # half a pair is no score to cluster by
        sat = np.where(scores.one_sided, np.nan, scores.sat)
        matrix[rows, columns] = matrix[columns, rows] = sat
    return matrix


def _judge(context: Context, row: AnalysisRow) -> dict[str, Any]:
    members, candidates, n = row.parameters["members"], row.parameters["candidates"], row.parameters["n"]
    with context.sessions.begin() as session:
        image_set = image_set_of(session, row.comparison_id)
        evaluations = {
            (each.network_id, each.part): each
            for each in session.scalars(
                select(EvaluationRow).where(
                    EvaluationRow.image_set_id == image_set.id,
                    EvaluationRow.network_id.in_(candidates),
                    EvaluationRow.part.in_((Part.SELECT, Part.REPORT)),
                )
            )
        }
    logits = _Logits(context, candidates, evaluations)
    reader = context.image_sets.reader(image_set)
    select_labels, report_labels = reader.labels(Part.SELECT), reader.labels(Part.REPORT)
    accuracy = [evaluations[each, Part.SELECT].n_correct / len(select_labels) for each in candidates]
    baselines = choose_baselines(n, accuracy, logits.select, select_labels)
    places = [candidates.index(member) for member in members]
    judged = {
        combine.value: asdict(compare(places, baselines, logits.report, report_labels, combine=combine))
        for combine in Combine
    }
    return judged | {
        "baselines": {
            "best_single": candidates[baselines.best_single],
            "most_accurate": [candidates[each] for each in baselines.most_accurate],
            "forward": [candidates[each] for each in baselines.forward],
        }
    }


class _Logits:
    """Clean logits of candidates by position, memory-mapped."""

    def __init__(
        self, context: Context, candidates: list[int], evaluations: dict[tuple[int, Part], EvaluationRow]
    ) -> None:
        self._store = context.store
        self._candidates = candidates
        self._evaluations = evaluations

    def select(self, candidate: int) -> NDArray[np.float32]:
        """Logits (n, classes) of the select part."""
        return self._read(candidate, Part.SELECT)

    def report(self, candidate: int) -> NDArray[np.float32]:
        """Logits (n, classes) of the report part."""
        return self._read(candidate, Part.REPORT)

    def _read(self, candidate: int, part: Part) -> NDArray[np.float32]:
        row = self._evaluations[self._candidates[candidate], part]
        logits: NDArray[np.float32] = read_arrays(self._store.open_local(row.logits))["logits"]
        return logits
