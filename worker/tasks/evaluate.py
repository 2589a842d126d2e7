"""evaluate: a network's clean answers on every part of an image set, then its attack and transfers are asked for."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from registry.artifacts import Artifact, write_artifact
from registry.database import transaction
from registry.jobs import finish
from registry.networks import judge_accuracy
from registry.pending import pending_evaluations
from registry.results import EvaluationResult, record_evaluation, want_measuring
from registry.tables import NetworkRow
from sat_engine import measure
from sat_engine.io.tensors import write_arrays
from worker.context import Context
from worker.images import comparison_parts
from worker.lease import Lease
from worker.loading import load_for_evaluation


def run(context: Context, lease: Lease) -> None:
    """Evaluate what is missing, rung 0 of the attack part first, each part recorded by itself."""
    claimed = lease.claim
    assert claimed.network_id is not None
    assert claimed.comparison_id is not None
    with context.sessions.begin() as session:
        _, image_set, protocol = comparison_parts(session, claimed.comparison_id)
        network = session.get_one(NetworkRow, claimed.network_id)
        missing = pending_evaluations(session, network.id, image_set)
    if missing:
        classifier = load_for_evaluation(context, network, image_set, protocol)
        for part, rung in missing:
            images, labels = context.image_sets.reader(image_set).read(part, rung)
            logits = measure.evaluate(classifier, images, progress=lease.check)
            result = EvaluationResult(
                part=part,
                rung=rung,
                correct=measure.correct(logits, labels),
                logits=_store(context, logits).sha256,
                numeric_path=classifier.numeric_path,
            )
            with transaction(context.sessions, context.bell.ring) as session:
                record_evaluation(session, claimed, image_set, result)
    with transaction(context.sessions, context.bell.ring) as session:
        finish(session, claimed)
        # also for a network that came with its evaluations: another comparison, or another model, made them
        want_measuring(session, claimed, rung=0)
        judge_accuracy(session, network.id)


def _store(context: Context, logits: NDArray[np.float32]) -> Artifact:
    def write(path: Path) -> None:
        write_arrays(path, {"logits": logits})

    return write_artifact(context.store, context.sessions, "logits", write)
