"""What an ensemble is worth, from stored logits."""

from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import select

from registry.tables import AnalysisRow, EvaluationRow, Part
from sat_engine.ensemble_worth import Combine, choose_baselines, compare
from sat_engine.io.tensors import read_arrays
from worker.context import Context
from worker.images import image_set_of


def judge(context: Context, row: AnalysisRow) -> dict[str, Any]:
    """The ensemble beside its baselines, on the report part."""
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
