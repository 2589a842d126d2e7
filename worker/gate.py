"""Which precision a network is measured in: decided at its first evaluation, and held against every protocol."""

import torch
from sqlalchemy import select
from sqlalchemy.orm import Session

from registry.errors import LostBytesError, UnavailableError
from registry.protocols import load_protocol
from registry.tables import AttackRow, NetworkRow, Part
from sat_engine import bits, measure
from sat_engine.classifier import Classifier
from sat_engine.io.tensors import read_arrays
from sat_engine.parity import GATE_IMAGES, compare_paths
from sat_engine.precision import Precision, has_bfloat16, has_fast_bfloat16
from worker.context import Context
from worker.lease import Lease
from worker.loading import load_classifier, recorded_precision
from worker.subject import Subject

# Recorded attacks of other networks whose transfers the gate looks at: a forward an image and path each.
OTHERS = 4


def load_for_evaluation(context: Context, lease: Lease, subject: Subject) -> Classifier:
    """The network as load_classifier gives it; its precision is decided here, once, unless SAT_PRECISION is float32."""
    network, image_set = subject.network, subject.image_set
    known = recorded_precision(context, network, image_set)
    plain = load_classifier(context, network, image_set, precision=known or Precision.FLOAT32)
    if known or not _may_be_bfloat16(context.settings.precision, plain.device):
        return plain
    fast = load_classifier(context, network, image_set, precision=Precision.BFLOAT16)
    return fast if _passes(context, lease, subject, plain, fast) else plain


def _may_be_bfloat16(setting: str, device: torch.device) -> bool:
    if setting == "auto":
        return has_fast_bfloat16(device)
    return setting == Precision.BFLOAT16 and has_bfloat16(device)


def require_parity(context: Context, lease: Lease, subject: Subject, classifier: Classifier) -> None:
    """UnavailableError where a network evaluated in bfloat16 does not pass the gate under the comparison's protocol.

    The first protocol's verdict does not hold for another one on the same images. Where that fails, nothing is
    measured with it, and nothing that is recorded moves: the job waits and says so until an operator has the network
    measured anew. An attack that is recorded in the comparison has passed.
    """
    if classifier.precision is Precision.FLOAT32 or _is_attacked(context, subject):
        return
    if not _passes(context, lease, subject, None, classifier):
        raise UnavailableError(
            f"{subject.network.architecture} ({subject.network.digest.hex()[:8]}) was evaluated in bfloat16, and under "
            f"the protocol {subject.protocol.name} that gives other results than float32: have it measured anew by a "
            "worker of SAT_PRECISION=float32 (`python -m registry re-evaluate`)."
        )


def _passes(context: Context, lease: Lease, subject: Subject, plain: Classifier | None, fast: Classifier) -> bool:
    """The gate's verdict, asked for once a process, network, image set and protocol."""
    network, image_set = subject.network, subject.image_set
    key = (network.digest, image_set.digest, subject.protocol.digest)
    if key not in context.gates:
        images, labels = context.image_sets.reader(image_set).read(Part.ATTACK, 0)
        few = slice(GATE_IMAGES)
        reference = plain or load_classifier(context, network, image_set, precision=Precision.FLOAT32)
        context.gates[key] = compare_paths(
            reference,
            fast,
            images[few],
            labels[few],
            load_protocol(subject.protocol),
            _stored_attacks(context, subject),
            progress=lease.heed,
        ).passes
    return context.gates[key]


def _is_attacked(context: Context, subject: Subject) -> bool:
    with context.sessions() as session:
        attack = select(AttackRow.rung).where(
            AttackRow.comparison_id == subject.comparison_id, AttackRow.network_id == subject.network.id
        )
        return session.scalars(attack.limit(1)).first() is not None


def _stored_attacks(context: Context, subject: Subject) -> dict[str, measure.AttackResult]:
    """Attacks of other networks on the gate's images, as far as they lie in the store."""
    found: dict[str, measure.AttackResult] = {}
    with context.sessions() as session:
        rows = _newest_attacks(session, subject)
    for attack, digest in rows:
        assert attack.images is not None
        try:
            arrays = read_arrays(context.store.open_local(attack.images))
        except (LostBytesError, UnavailableError):
            continue  # one source less
        m = int((arrays["positions"] < GATE_IMAGES).sum())
        n = min(subject.image_set.prefix, subject.image_set.n_attack)
        found[digest.hex()[:8]] = measure.AttackResult(
            images=arrays["images"][:m],
            positions=arrays["positions"][:m],
            fooled=bits.unpack(attack.fooled, n),
            noise_fooled=bits.unpack(attack.noise_fooled, n),
        )
    return found


def _newest_attacks(session: Session, subject: Subject) -> list[tuple[AttackRow, bytes]]:
    rows = session.execute(
        select(AttackRow, NetworkRow.digest)
        .join(NetworkRow, NetworkRow.id == AttackRow.network_id)
        .where(
            AttackRow.comparison_id == subject.comparison_id,
            AttackRow.network_id != subject.network.id,
            AttackRow.rung == 0,
            AttackRow.images.is_not(None),
        )
        .order_by(AttackRow.recorded_at.desc(), AttackRow.network_id)
        .limit(OTHERS)
    )
    return [(attack, digest) for attack, digest in rows]
