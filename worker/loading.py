"""Networks from the database onto the device."""

from collections.abc import Mapping

from registry.tables import ImageSetRow, NetworkRow
from sat_engine.classifier import Classifier
from sat_engine.io.weights import read_weights
from sat_engine.networks import build
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


def load_classifier(context: Context, row: NetworkRow, image_set: ImageSetRow) -> Classifier:
    """The network on this worker's device, ready for the image set's images."""
    tensors = read_weights(context.store.open_local(row.weights))
    return build(spec_of(row), tensors, image_channels=image_set.channels, device=context.device.torch_name)
