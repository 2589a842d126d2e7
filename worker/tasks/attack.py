"""attack: a source's adversarial images on one rung, and how often they, and plain noise, fool the source."""

import time

from registry.database import transaction
from registry.deliveries import ask_for_news
from registry.image_sets import part_bounds
from registry.jobs import finish_with, hold
from registry.meetings import want_meetings
from registry.pending import pending_attacks
from registry.protocols import load_protocol
from registry.results import AttackRecord, record_attack, record_unattackable
from registry.tables import EvaluationRow, Part
from sat_engine import measure
from sat_engine.errors import NotAttackableError
from worker.context import Context
from worker.gate import require_parity
from worker.lease import Lease
from worker.loading import load_classifier
from worker.numeric_path import clean_bits, clean_evaluation, require_same_bits
from worker.storing import require_room_for_images, store_arrays
from worker.subject import Subject, read_subject


def run(context: Context, lease: Lease) -> None:
    """Attack the lowest rung that is missing; a later one is left to a less urgent turn of the same job.

    The others are asked for transfers first of what is recorded already, since a later rung may fail, then of the new.
    """
    claimed = lease.claim
    with context.sessions.begin() as session:
        subject = read_subject(session, claimed)
        network, image_set = subject.network, subject.image_set
        rungs = pending_attacks(session, network.id, subject.comparison_id, image_set)
        evaluations = [clean_evaluation(session, network.id, image_set, rung) for rung in rungs[:1]]
    if rungs and rungs[0] > 0:
        with transaction(context.sessions, context.bell.ring) as session:
            hold(session, claimed)
            want_meetings(session, claimed, image_set)
    for evaluation in evaluations:
        try:
            record = _attack(context, lease, subject, evaluation)
        except NotAttackableError as error:
            with transaction(context.sessions, context.bell.ring) as session:
                record_unattackable(session, claimed, str(error))
            continue
        with transaction(context.sessions, context.bell.ring) as session:
            record_attack(session, claimed, record)
    with transaction(context.sessions, context.bell.ring) as session:
        hold(session, claimed)
        want_meetings(session, claimed, image_set)
        left = pending_attacks(session, network.id, subject.comparison_id, image_set)
        finish_with(session, claimed, left[0] if left else None)
        if not left:
            ask_for_news(session)


def _attack(context: Context, lease: Lease, subject: Subject, evaluation: EvaluationRow) -> AttackRecord:
    rung, image_set = evaluation.rung, subject.image_set
    images, labels = context.image_sets.reader(image_set).read(Part.ATTACK, rung)
    clean = clean_bits(evaluation)
    side, channels = subject.network.input_side, image_set.channels
    # rather now than after the work
    require_room_for_images(context, int(clean.sum()) * side * side * channels)
    classifier = load_classifier(context, subject.network, image_set)
    require_same_bits(classifier, evaluation, images, labels, progress=lease.heed)
    require_parity(context, lease, subject, classifier)
    started = time.perf_counter()
    made = measure.attack(
        classifier,
        images,
        labels,
        clean,
        load_protocol(subject.protocol),
        positions_from=part_bounds(image_set, Part.ATTACK, rung)[0],
        progress=lease.check,
    )
    seconds = time.perf_counter() - started
    artifact = store_arrays(context, "adversarial", {"images": made.images, "positions": made.positions})
    return AttackRecord(
        rung=rung,
        attacked=len(made.positions),
        fooled=made.fooled,
        noise_fooled=made.noise_fooled,
        images=artifact.sha256,
        numeric_path=classifier.numeric_path,
        seconds=seconds,
    )
