"""Building a network from its architecture and a checkpoint."""

from collections.abc import Callable, Mapping
from functools import partial
from importlib.metadata import entry_points
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from sat_engine.batching import NO_ROOM, Batch, is_memory_error
from sat_engine.catalogue import ENTRY_POINT_GROUP, near_matches
from sat_engine.checkpoints import Weights, fit
from sat_engine.classifier import Classifier
from sat_engine.errors import ArchitectureError, NotComputableError
from sat_engine.folding import Pairs, fold, fold_known
from sat_engine.io.tensors import weights_digest
from sat_engine.kernels import unfuse_attention, use_cpu_kernels
from sat_engine.plan import Plan
from sat_engine.precision import Precision
from sat_engine.skeleton import make_outline, make_skeleton
from sat_engine.spec import ALLOWED_MODEL_ARGS, NetworkSpec, check_model_args, network_digest

__all__ = [
    "ALLOWED_MODEL_ARGS",
    "Classifier",
    "NetworkSpec",
    "build",
    "create_module",
    "fit_tensors",
    "network_digest",
    "pretrained",
    "weights_digest",
]


def build(
    spec: NetworkSpec,
    tensors: Mapping[str, Tensor],
    *,
    image_channels: int,
    device: str | torch.device = "cpu",
    weights: str = Weights.RAW,
    lowered: bool = True,
    precision: Precision = Precision.FLOAT32,
    batch: Batch | None = None,
    plan: Plan | None = None,
) -> Classifier:
    """Return the network with the checkpoint's tensors, ready for images of image_channels (1 or 3).

    lowered: batch norms folded and, on a CPU, faster kernels: the same function up to rounding. Without
    it, the network has the layers its author gave it. batch is halved in place where memory does not suffice.
    plan: what an earlier build of the same spec and weights left in its classifier; nothing is then run or looked
    through again. ArchitectureError where the architecture is unknown or cannot take its input; CheckpointError naming
    the first tensors that differ. No weight is ever initialised at random, dropped or reshaped.
    """
    if image_channels not in (1, 3):
        raise ArchitectureError(f"images have 1 or 3 channels, not {image_channels}")
    module, real = _skeleton(spec, real=plan is not None and plan.real)
    fitted = fit(tensors, module.state_dict(), weights=weights, known_finite=plan is not None)
    module.load_state_dict(fitted, assign=True)
    _require_own_statistics(module, spec)
    classifier = Classifier(
        module,
        input_side=spec.input_side,
        image_channels=image_channels,
        channels=spec.channels,
        mean=spec.mean,
        std=spec.std,
        class_map=range(1),  # until the outputs have been counted
        precision=precision,
        batch=batch,
    )
    outputs = plan.outputs if plan else _count_outputs(classifier, spec)
    if max(spec.class_map) >= outputs:
        raise ArchitectureError(
            f"the class map names output {max(spec.class_map)}, but {spec.architecture} has {outputs} outputs; "
            "check num_classes and the classes"
        )
    classifier.class_map = torch.tensor(spec.class_map, dtype=torch.int64)
    foldings = plan.foldings if plan else None
    if lowered:
        foldings = _folded(classifier.network, spec, foldings)
        classifier.lowering = _lower(classifier, torch.device(device), folded=bool(foldings))
    classifier.plan = Plan(outputs=outputs, foldings=foldings, real=real)
    return classifier.to(device)


def _require_own_statistics(module: nn.Module, spec: NetworkSpec) -> None:
    """ArchitectureError where a batch norm has no running statistics: an image's logits depend on its batch then."""
    for name, part in module.named_modules():
        if isinstance(part, _BatchNorm) and part.running_mean is None:
            raise ArchitectureError(
                f"{spec.architecture} normalises {name} by the statistics of whatever batch it is given "
                "(track_running_stats=False), so that an image's answer depends on the others; train it with running "
                "statistics"
            )


def _folded(network: nn.Module, spec: NetworkSpec, known: Pairs | None) -> Pairs:
    """Fold batch norms in place, where it is not known which, by looking; return which."""
    if known is not None:
        fold_known(network, known)
        return known
    noise = torch.randn(1, spec.channels, spec.input_side, spec.input_side, generator=torch.Generator().manual_seed(0))
    return fold(network, noise.contiguous(memory_format=torch.channels_last))


def _lower(classifier: Classifier, device: torch.device, *, folded: bool) -> str:
    """Replace layers by faster ones in place; return what was done, for the numeric path."""
    done = ["folded"] if folded else []
    if device.type == "cpu" and classifier.precision is Precision.FLOAT32:
        use_cpu_kernels(classifier.network)
        done.append("onednn")
    elif device.type == "cpu" and unfuse_attention(classifier.network):
        done.append("unfused")
    return " ".join(done)


def fit_tensors(spec: NetworkSpec, tensors: Mapping[str, Tensor], *, weights: str = Weights.RAW) -> dict[str, Tensor]:
    """Return the checkpoint under the network's own names in float32: what to store and to hash.

    Raises as build does. Uploads that differ only in wrappers or precision become the same network.
    """
    outline = make_outline(_constructor(spec))
    return fit(tensors, outline.state_dict(), weights=weights)


def create_module(architecture: str, model_args: Mapping[str, object], input_side: int, channels: int) -> nn.Module:
    """Return a new network with initial weights, on torch's current default device.

    architecture is an operator-installed entry point, called with exactly model_args, or a name of timm's catalogue,
    where in_chans and a fixed img_size follow from the input unless model_args say so. ArchitectureError otherwise.
    """
    check_model_args(model_args)
    constructor = _find_constructor(architecture, model_args, input_side, channels)
    try:
        # timm may draw random numbers; the caller's stream stays as it was, and two builds are equal
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(0)
            module = constructor()
    except Exception as error:
        raise ArchitectureError(
            f"{architecture} cannot be built with {dict(model_args)} for {channels} x {input_side} x {input_side} "
            f"pixels: {_first_line(error)}"
        ) from error
    if not isinstance(module, nn.Module):
        raise ArchitectureError(f"the entry point {architecture} returned {type(module).__name__}, not a torch module")
    return module


def _find_constructor(
    architecture: str, model_args: Mapping[str, object], input_side: int, channels: int
) -> Callable[[], Any]:
    installed = entry_points(group=ENTRY_POINT_GROUP)
    if architecture in installed.names:
        return lambda: installed[architecture].load()(**model_args)
    import timm

    # timm would read "hf-hub:" and "local-dir:" names from the network and the disk, and a tag from the hub
    if not architecture.isidentifier() or not timm.is_model(architecture):
        raise ArchitectureError(_unknown(architecture))
    arguments = {"in_chans": channels, **model_args}
    settings = timm.get_pretrained_cfg(architecture)
    if settings is not None and settings.fixed_input_size:
        arguments.setdefault("img_size", input_side)
    return lambda: timm.create_model(architecture, pretrained=False, **arguments)


def _unknown(architecture: str) -> str:
    near = near_matches(architecture)
    hint = f"did you mean {', '.join(near)}?" if near else "see timm's catalogue of architectures"
    return f"there is no architecture {architecture[:80]!r}: {hint}"


def _skeleton(spec: NetworkSpec, *, real: bool = False) -> tuple[nn.Module, bool]:
    return make_skeleton(_constructor(spec), real=real)


def _constructor(spec: NetworkSpec) -> Callable[[], nn.Module]:
    return partial(create_module, spec.architecture, spec.model_args, spec.input_side, spec.channels)


def _count_outputs(classifier: Classifier, spec: NetworkSpec) -> int:
    """Return the network's number of outputs, found by one forward of a grey image on the CPU."""
    grey = torch.full((1, spec.channels, spec.input_side, spec.input_side), 0.5)
    try:
        with torch.no_grad():
            logits = classifier.network(grey.contiguous(memory_format=torch.channels_last))
    except Exception as error:
        if is_memory_error(error):
            raise NotComputableError(NO_ROOM) from None
        raise ArchitectureError(
            f"{spec.architecture} cannot take {spec.channels} x {spec.input_side} x {spec.input_side} pixels: "
            f"{_first_line(error)}; check the input size and channels"
        ) from error
    if not isinstance(logits, Tensor) or logits.ndim != 2:  # noqa: PLR2004  # (images, outputs)
        raise ArchitectureError(f"{spec.architecture} does not give one row of logits an image; check global_pool")
    return int(logits.shape[1])


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".partition("\n")[0][:300]


def pretrained(name: str, *, image_channels: int = 3, device: str | torch.device = "cpu") -> Classifier:
    """Return one of timm's pretrained networks, such as "resnet18.a1_in1k", with its own input size and outputs.

    Its class_names, where the hub or timm knows them, are what read_folder takes to label a folder with some of them.
    Raises as sat_engine.io.pretrained.fetch does.
    """
    from sat_engine.io.pretrained import fetch

    architecture, _, tag = name.partition(".")
    found = fetch(architecture, tag)
    spec = NetworkSpec(
        architecture=architecture,
        model_args=found.model_args,
        input_side=found.input_side,
        channels=found.channels,
        mean=found.mean,
        std=found.std,
        class_map=tuple(range(found.num_classes)),
    )
    classifier = build(spec, found.tensors, image_channels=image_channels, device=device)
    classifier.class_names = found.class_names
    return classifier
