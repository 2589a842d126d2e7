"""What a recorded pair is made of, fetched from a registry by its digests and checked against them."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from client.errors import ClientError

if TYPE_CHECKING:
    from client.registry import Registry
    from sat_engine import measure
    from sat_engine.networks import Classifier
    from sat_engine.protocol import Protocol


def fetch_protocol(registry: "Registry", name: str) -> "Protocol":
    from sat_engine.protocol import Protocol

    row = next(each for each in registry.protocols() if each["name"] == name)
    protocol = Protocol.from_parameters(row["parameters"])
    _require("protocol", name, row["digest"], protocol.digest())
    return protocol


def fetch_attack_part(registry: "Registry", described: Any, folder: Path) -> "tuple[measure.Images, measure.Integers]":
    """Return the images and labels of the attack part, in the fixed order, from content whose hash is checked."""
    from registry.identity import image_set_digest
    from registry.tasks import task_digest
    from sat_engine.io.tensors import read_arrays
    from sat_engine.ordering import order

    path = registry.image_set_content(described["name"], folder / "images.safetensors")
    with path.open("rb") as file:
        content = hashlib.file_digest(file, "sha256").digest()
    parts = described["parts"]
    digest = image_set_digest(
        task=task_digest(described["task"]["classes"]),
        content=content,
        parts=[parts[name] for name in ("attack", "select", "report")],
        prefix=described["prefix"],
        seed=described["seed"],
    )
    _require("image set", described["name"], described["digest"], digest)
    arrays = read_arrays(path)
    chosen = order(len(arrays["labels"]), described["seed"])[: parts["attack"]]
    return arrays["images"][chosen], arrays["labels"][chosen].astype("int64")


def fetch_classifier(
    registry: "Registry",
    pair: Any,
    side: str,
    described: Any,
    folder: Path,
    *,
    device: str,
    channels: int,
    like: Sequence[str],
) -> "Classifier":
    """Return the network of that digest, in the precision and the batch that its attacks (`like`) were recorded with.

    Where none are recorded, or by several paths, its clean bits' path, or the last one, stands for them.
    """
    import torch

    from sat_engine.batching import Batch
    from sat_engine.io.weights import read_weights
    from sat_engine.networks import NetworkSpec, build, network_digest, weights_digest
    from sat_engine.precision import precision_of

    digest = pair["digests"][side]
    model = registry.model(f"@{digest}", image_set=pair["image_set"], protocol=pair["protocol"])
    path = registry.checkpoint(f"@{digest}", folder / f"{digest}.safetensors")
    fed: Any = model["input"]
    spec = NetworkSpec(
        architecture=model["architecture"],
        model_args=model["model_args"],
        input_side=fed["size"],
        channels=fed["channels"],
        mean=tuple(fed["mean"]),
        std=tuple(fed["std"]),
        class_map=tuple(model["class_map"] or ()),
    )
    _require("network", model["name"], digest, network_digest(spec, weights_digest(path), described["task"]["classes"]))
    clean = model["numeric_path"] or ""
    return build(
        spec,
        read_weights(path),
        image_channels=channels,
        device=device,
        precision=precision_of(clean),
        batch=Batch.recorded(like[-1] if like else clean, torch.device(device)),
    )


def _require(kind: str, name: str, recorded: str, found: bytes) -> None:
    if found.hex() != recorded:
        raise ClientError(
            f"the {kind} {name!r} that the registry gave has digest {found.hex()[:16]}…, but {recorded[:16]}… is "
            "recorded: it is not what was measured."
        )
