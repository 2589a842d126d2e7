"""evaluate: a network's clean answers on every part of an image set, then its attack and transfers are asked for."""

import time

from registry.database import transaction
from registry.jobs import finish
from registry.networks import judge_accuracy
from registry.pending import pending_evaluations
from registry.results import EvaluationResult, record_evaluation, want_measuring
from sat_engine import measure
from worker.context import Context
from worker.gate import load_for_evaluation
from worker.lease import Lease
from worker.storing import store_arrays
from worker.subject import read_subject


def run(context: Context, lease: Lease) -> None:
    """Evaluate what is missing, rung 0 of the attack part first, each part recorded by itself."""
    claimed = lease.claim
    with context.sessions.begin() as session:
        subject = read_subject(session, claimed)
        network, image_set = subject.network, subject.image_set
        missing = pending_evaluations(session, network.id, image_set)
    if missing:
        classifier = load_for_evaluation(context, lease, subject)
        for part, rung in missing:
            lease.check_between_results()
            images, labels = context.image_sets.reader(image_set).read(part, rung)
            started = time.perf_counter()
            logits = measure.evaluate(classifier, images, progress=lease.check)
            seconds = time.perf_counter() - started
            result = EvaluationResult(
                part=part,
                rung=rung,
                correct=measure.correct(logits, labels),
                logits=store_arrays(context, "logits", {"logits": logits}).sha256,
                numeric_path=classifier.numeric_path,
                seconds=seconds,
            )
            with transaction(context.sessions, context.bell.ring) as session:
                record_evaluation(session, claimed, image_set, result)
    with transaction(context.sessions, context.bell.ring) as session:
        finish(session, claimed)
        # also for a network that came with its evaluations: another comparison, or another model, made them
        want_measuring(session, claimed, rung=0)
        judge_accuracy(session, network.id)
