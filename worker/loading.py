"""Networks from the database onto the device."""

from collections.abc import Mapping

import torch
from sqlalchemy import select

from registry.tables import AttackRow, EvaluationRow, ImageSetRow, NetworkRow
from sat_engine.batching import Batch
from sat_engine.classifier import Classifier
from sat_engine.io.weights import read_weights
from sat_engine.networks import build
from sat_engine.numeric_path import same_hardware
from sat_engine.precision import Precision, precision_of
from sat_engine.spec import NetworkSpec
from worker.context import Context

# Of a network's results, so many are looked through for one of a device like this worker's.
RECENT_PATHS = 16


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
    context: Context,
    row: NetworkRow,
    image_set: ImageSetRow,
    *,
    precision: Precision | None = None,
    like: str | None = None,
) -> Classifier:
    """The network on this worker's device, ready for the image set's images.

    Its precision is the one its clean bits were recorded with, unless another is given; its batch is what has been
    found to fit. like: a recorded numeric path whose precision and batch are taken instead, since what it made is to
    be made again. What a first load finds out by running the network, the next ones of this process know.
    """
    device = torch.device(context.device.torch_name)
    if like is not None:
        precision = precision_of(like)
    classifier = build(
        spec_of(row),
        read_weights(context.store.open_local(row.weights)),
        image_channels=image_set.channels,
        device=device,
        precision=precision or recorded_precision(context, row, image_set) or Precision.FLOAT32,
        batch=_known_batch(context, row, device) if like is None else Batch.recorded(like, device),
        plan=context.plans.get(row.digest),
    )
    assert classifier.plan is not None
    context.plans[row.digest] = classifier.plan
    return classifier


def _known_batch(context: Context, row: NetworkRow, device: torch.device) -> Batch:
    """The batch that this process has found to fit, or that the network's newest results on such a device name."""
    key = (row.digest, str(device))
    if key not in context.batches:
        with context.sessions() as session:
            # an attack's path knows what fits with gradients, too
            paths = [
                path
                for table in (AttackRow, EvaluationRow)
                for path in session.scalars(
                    select(table.numeric_path)
                    .where(table.network_id == row.id)
                    .order_by(table.recorded_at.desc())
                    .limit(RECENT_PATHS)
                )
            ]
        recent = next((path for path in paths if same_hardware(path, device)), "")
        context.batches[key] = Batch.recorded(recent, device)
    return context.batches[key]


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
