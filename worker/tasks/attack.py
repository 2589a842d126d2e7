"""attack: a source's adversarial images on one rung, and how often they, and plain noise, fool the source."""

from pathlib import Path

from registry.artifacts import write_artifact
from registry.database import transaction
from registry.image_sets import part_bounds
from registry.jobs import finish_with, hold
from registry.pending import pending_attacks
from registry.protocols import load_protocol
from registry.results import AttackRecord, record_attack
from registry.tables import EvaluationRow, ImageSetRow, NetworkRow, Part, ProtocolRow
from sat_engine import measure
from sat_engine.io.tensors import write_arrays
from worker.context import Context
from worker.images import comparison_parts
from worker.lease import Lease
from worker.loading import load_classifier
from worker.numeric_path import clean_bits, clean_evaluation, require_same_bits


def run(context: Context, lease: Lease) -> None:
    """Attack the lowest rung that is missing; a later one is left to a less urgent turn of the same job."""
    claimed = lease.claim
    assert claimed.network_id is not None
    assert claimed.comparison_id is not None
    with context.sessions.begin() as session:
        _, image_set, protocol = comparison_parts(session, claimed.comparison_id)
        network = session.get_one(NetworkRow, claimed.network_id)
        rungs = pending_attacks(session, network.id, claimed.comparison_id, image_set)
        evaluations = [clean_evaluation(session, network.id, image_set, rung) for rung in rungs[:1]]
    for evaluation in evaluations:
        record = _attack(context, lease, network, image_set, protocol, evaluation)
        with transaction(context.sessions, context.bell.ring) as session:
            record_attack(session, claimed, image_set, record)
    with transaction(context.sessions, context.bell.ring) as session:
        hold(session, claimed)
        left = pending_attacks(session, network.id, claimed.comparison_id, image_set)
        finish_with(session, claimed, left[0] if left else None)


def _attack(  # noqa: PLR0917  what an attack depends on
    context: Context,
    lease: Lease,
    network: NetworkRow,
    image_set: ImageSetRow,
    protocol: ProtocolRow,
    evaluation: EvaluationRow,
) -> AttackRecord:
    rung = evaluation.rung
    images, labels = context.image_sets.reader(image_set).read(Part.ATTACK, rung)
    classifier = load_classifier(context, network, image_set)
    require_same_bits(classifier, evaluation, images, labels)
    made = measure.attack(
        classifier,
        images,
        labels,
        clean_bits(evaluation),
        load_protocol(protocol),
        positions_from=part_bounds(image_set, Part.ATTACK, rung)[0],
        progress=lease.check,
    )

    def write(path: Path) -> None:
        write_arrays(path, {"images": made.images, "positions": made.positions})

    artifact = write_artifact(context.store, context.sessions, "adversarial", write)
    return AttackRecord(
        rung=rung,
        attacked=len(made.positions),
        fooled=made.fooled,
        noise_fooled=made.noise_fooled,
        images=artifact.sha256,
        numeric_path=classifier.numeric_path,
    )
