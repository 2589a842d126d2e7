"""Networks from the database onto the device."""

from collections.abc import Mapping

import torch
from sqlalchemy import select

from registry.protocols import load_protocol
from registry.tables import EvaluationRow, ImageSetRow, NetworkRow, Part, ProtocolRow
from sat_engine.batching import Batch
from sat_engine.classifier import Classifier
from sat_engine.io.weights import read_weights
from sat_engine.networks import build
from sat_engine.parity import GATE_IMAGES, compare_paths
from sat_engine.precision import Precision, has_fast_bfloat16, precision_of
from sat_engine.spec import NetworkSpec
from worker.context import Context


def spec_of(row: NetworkRow) -> NetworkSpec:
    """The engine's description of a recorded network."""
    args: Mapping[str, object] = row.model_args
    return NetworkSpec(
        architecture=row.architecture,
        model_args=args,
        input_side=row.input_side,
        channels=row.channels,
        mean=tuple(row.mean),
        std=tuple(row.std),
        class_map=tuple(row.class_map),
    )


def load_classifier(
    context: Context, row: NetworkRow, image_set: ImageSetRow, *, precision: Precision | None = None
) -> Classifier:
    """The network on this worker's device, ready for the image set's images.

    Its precision is the one its clean bits were recorded with, unless another is given; its batch is what this
    process has found to fit. What a first load finds out by running the network, the next ones of this process know.
    """
    device = torch.device(context.device.torch_name)
    classifier = build(
        spec_of(row),
        read_weights(context.store.open_local(row.weights)),
        image_channels=image_set.channels,
        device=device,
        precision=precision or recorded_precision(context, row, image_set) or Precision.FLOAT32,
        batch=context.batches.setdefault((row.digest, str(device)), Batch.default(device)),
        plan=context.plans.get(row.digest),
    )
    assert classifier.plan is not None
    context.plans[row.digest] = classifier.plan
    return classifier


def recorded_precision(context: Context, row: NetworkRow, image_set: ImageSetRow) -> Precision | None:
    """What the network's clean bits on the image set were computed in; None where there are none yet."""
    with context.sessions() as session:
        path = session.scalars(
            select(EvaluationRow.numeric_path)
            .where(EvaluationRow.network_id == row.id, EvaluationRow.image_set_id == image_set.id)
            .order_by(EvaluationRow.part, EvaluationRow.rung)
            .limit(1)
        ).first()
    return precision_of(path) if path else None


def load_for_evaluation(context: Context, row: NetworkRow, image_set: ImageSetRow, protocol: ProtocolRow) -> Classifier:
    """The network as load_classifier gives it; its precision is decided here, once, where SAT_PRECISION is auto."""
    known = recorded_precision(context, row, image_set)
    plain = load_classifier(context, row, image_set, precision=known or Precision.FLOAT32)
    if known or context.settings.precision == "float32" or not has_fast_bfloat16(plain.device):
        return plain
    images, labels = context.image_sets.reader(image_set).read(Part.ATTACK, 0)
    fast = load_classifier(context, row, image_set, precision=Precision.BFLOAT16)
    few = slice(GATE_IMAGES)
    return fast if compare_paths(plain, fast, images[few], labels[few], load_protocol(protocol)).passes else plain
