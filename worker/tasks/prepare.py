"""prepare: a declaration and its weights become a network, or the model fails with the reason."""

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from registry.database import transaction
from registry.errors import InvalidError
from registry.jobs import finish
from registry.networks import PreparedNetwork, record_prepared
from registry.storage.artifacts import write_artifact
from registry.tables import ModelRow, Source, TaskRow
from sat_engine.components import read_anatomy
from sat_engine.io.formats import CheckpointFormat, format_of
from sat_engine.io.pretrained import fetch
from sat_engine.io.weights import read_weights, write_weights
from sat_engine.networks import build, fit_tensors, network_digest, weights_digest
from sat_engine.spec import NetworkSpec
from worker.context import Context
from worker.conversion.converter import convert
from worker.lease import Lease


@dataclass(frozen=True, kw_only=True, slots=True)
class _Declared:
    """A model's spec and the tensors that came with it."""

    spec: NetworkSpec
    tensors: Mapping[str, Tensor]
    weights: str


def run(context: Context, lease: Lease) -> None:
    """Read or fetch the weights, fit them to the architecture, read the components off, record the network."""
    with context.sessions.begin() as session:
        model = session.get_one(ModelRow, lease.claim.model_id)
        task = session.get_one(TaskRow, model.task_id)
    declared = _fetch(model) if model.source is Source.PRETRAINED else _read(context, lease, model)
    lease.check(0.3)
    prepared = _prepare(context, declared, task, _outputs_named(model, task))
    lease.check(0.9)
    with transaction(context.sessions, context.bell.ring) as session:
        record_prepared(session, lease.claim, prepared)
        finish(session, lease.claim)


def _read(context: Context, lease: Lease, model: ModelRow) -> _Declared:
    assert model.checkpoint is not None
    path = context.store.open_local(model.checkpoint)
    foreign = format_of(path) is CheckpointFormat.PYTORCH
    declaration = model.declaration
    fed = declaration["input"]
    return _Declared(
        spec=_spec(declaration, fed["size"], fed["channels"], fed["mean"], fed["std"]),
        tensors=_converted(context, lease, path) if foreign else read_weights(path),
        weights=declaration["weights"],
    )


def _converted(context: Context, lease: Lease, path: Path) -> Mapping[str, Tensor]:
    """The tensors of a .pth file. The folder is private, and on the disk that holds the store."""

    def heed() -> None:
        lease.check()
        # some files unfold to four times their size: the disk is looked at while that is written
        context.store.require_room(0, context.sessions)

    context.store.require_room(path.stat().st_size, context.sessions)
    with tempfile.TemporaryDirectory(prefix="conversion-", dir=context.store.spool) as folder:
        # what was read stays mapped after the file is gone
        return read_weights(convert(path, Path(folder), heed, strict=context.settings.conversion == "strict"))


def _fetch(model: ModelRow) -> _Declared:
    declaration = model.declaration
    found = fetch(declaration["architecture"], declaration["pretrained"])
    fed = declaration["input"] or {}
    return _Declared(
        spec=_spec(
            declaration | {"model_args": dict(found.model_args)},
            fed.get("size", found.input_side),
            fed.get("channels", found.channels),
            fed.get("mean", found.mean),
            fed.get("std", found.std),
        ),
        tensors=found.tensors,
        weights="raw",
    )


def _spec(declaration: dict[str, Any], side: int, channels: int, mean: Any, std: Any) -> NetworkSpec:
    return NetworkSpec(
        architecture=declaration["architecture"],
        model_args=declaration["model_args"],
        input_side=side,
        channels=channels,
        mean=tuple(mean),
        std=tuple(std),
        class_map=tuple(declaration["class_map"]),
    )


def _outputs_named(model: ModelRow, task: TaskRow) -> int:
    return int(model.declaration["outputs"] or len(task.classes))


def _prepare(context: Context, declared: _Declared, task: TaskRow, outputs_named: int) -> PreparedNetwork:
    spec = declared.spec
    fitted = fit_tensors(spec, declared.tensors, weights=declared.weights)
    classifier = build(spec, fitted, image_channels=spec.channels, lowered=False)
    assert classifier.plan is not None
    if classifier.plan.outputs != outputs_named:
        raise InvalidError(
            f"the network has {classifier.plan.outputs} outputs, but {outputs_named} classes were named: send "
            "`classes` with the name of every output, in order."
        )
    anatomy = read_anatomy(classifier.network, spec.architecture, input_side=spec.input_side, channels=spec.channels)

    def write(path: Path) -> None:
        write_weights(path, fitted)

    weights = write_artifact(context.store, context.sessions, "weights", write)
    digest = network_digest(spec, weights_digest(context.store.open_local(weights.sha256)), task.classes)
    return PreparedNetwork(
        digest=digest,
        architecture=spec.architecture,
        model_args=dict(spec.model_args),
        input_side=spec.input_side,
        channels=spec.channels,
        mean=spec.mean,
        std=spec.std,
        class_map=spec.class_map,
        components=anatomy.components,
        base=anatomy.base,
        family=anatomy.family,
        parameters=anatomy.parameters,
        macs=anatomy.macs,
        weights=weights.sha256,
    )
