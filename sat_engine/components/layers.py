"""Components read off kinds of layers: normalisation, activation, attention and convolutions."""

from collections.abc import Iterable

from torch import nn

from sat_engine.components.trace import Call, Kind, Trace

NO, YES, NOWHERE = "No", "Yes", "~"
_ORDER_OF_NORMS = ("LN", "BN", "GN", "EvoNorm", "Affine transform", "FRN", "RMS", "IN")
_ORDER_OF_ACTIVATIONS = ("GeLU", "ReLU", "SiLU", "ReLU6", "HardSwish", "Leaky ReLU", "Mish", "ELU", "PReLU")
_NORM_CLASSES: dict[str, tuple[type[nn.Module], ...]] = {
    "BN": (nn.BatchNorm1d, nn.BatchNorm2d, nn.SyncBatchNorm),
    "IN": (nn.InstanceNorm2d,),
    "GN": (nn.GroupNorm,),
    "RMS": (nn.RMSNorm,),
    "LN": (nn.LayerNorm,),
}
# by the class names of timm's layers
_NORM_PREFIXES = {
    "FrozenBatchNorm": "BN",
    "EvoNorm": "EvoNorm",
    "FilterResponseNorm": "FRN",
    "Affine": "Affine transform",
    "RmsNorm": "RMS",
    "SimpleNorm": "RMS",
    "LayerNorm": "LN",
}
_PLANE_ATTENTION = {"BottleneckAttn": "BoT", "HaloAttn": "Halo", "LambdaLayer": "Lambda"}
_CHANNEL_ATTENTION = {
    "EffectiveSEModule": "ESE",
    "EcaModule": "ECA",
    "CecaModule": "ECA",
    "GlobalContext": "GCA",
    "CbamModule": "CBAM",
    "LightCbamModule": "CBAM",
    "GatherExcite": "GE",
    "SEModule": "SE",
    "SqueezeExcite": "SE",
    "SEWithNorm": "SE",
    "SqueezeExciteCl": "SE",
}
_ATTENTION_INSIDE_CONVOLUTION = {"SplitAttn", "SelectiveKernel"}
_SIDE_PATHS = {"downsample", "shortcut", "skip", "identity"}


def normalization(trace: Trace) -> str:
    """Return the kinds of normalisation layers that ran, such as "LN + BN"."""
    kinds = {kind for call in trace.calls if (kind := norm_of(call.module)) is not None}
    return " + ".join(kind for kind in _ORDER_OF_NORMS if kind in kinds) or "Norm-free"


def norm_of(module: nn.Module) -> str | None:
    """Return the kind of a normalisation layer, None for any other module."""
    name = type(module).__name__
    for kind, classes in _NORM_CLASSES.items():
        if isinstance(module, classes):
            return kind
    return next((kind for prefix, kind in _NORM_PREFIXES.items() if name.startswith(prefix)), None)


def activation(trace: Trace) -> str:
    """Return the activation functions that ran, gates apart; "-" for none."""
    kinds = {operation.activation for operation in trace.of(Kind.ACTIVATION)}
    return " + ".join(kind for kind in _ORDER_OF_ACTIVATIONS if kind in kinds) or "-"


def plane_attention(trace: Trace) -> str:
    """Return whether self-attention over the plane stands in for convolutions, and which, in order."""
    return _yes_with(_PLANE_ATTENTION.get(type(call.module).__name__) for call in trace.calls)


def channel_attention(trace: Trace) -> str:
    """Return whether channels are weighted by attention, and by which."""
    found = _yes_with(_CHANNEL_ATTENTION.get(type(call.module).__name__) for call in trace.calls)
    inside = any(type(call.module).__name__ in _ATTENTION_INSIDE_CONVOLUTION for call in trace.calls)
    return YES if found == NO and inside else found


def location_of_channel_attention(trace: Trace) -> str:
    """Return "Middle" where most blocks go on to convolve after it, "End" where they do not, "~" without any."""
    followed = [_is_followed(call, trace) for call in trace.calls if type(call.module).__name__ in _CHANNEL_ATTENTION]
    if not followed:
        return NOWHERE
    return "Middle" if 2 * sum(followed) > len(followed) else "End"


def _is_followed(attention: Call, trace: Trace) -> bool:
    """Return whether the block around it, its side path apart, convolves after the attention has run."""
    block = attention.name.rpartition(".")[0]
    inside = [o.module for o in trace.operations if o.module.startswith(f"{block}." if block else "")]
    last = max(i for i, module in enumerate(inside) if _is_within(module, attention.name))
    convolutions = {o.module for o in trace.of(Kind.CONVOLUTION)}
    return any(
        module in convolutions and not _SIDE_PATHS & set(module.removeprefix(block).split("."))
        for module in inside[last + 1 :]
    )


def _is_within(module: str, other: str) -> bool:
    return module == other or module.startswith(f"{other}.")


def depthwise_convolution(trace: Trace) -> str:
    """Return whether some convolution has one filter a channel."""
    return yes(any(o.groups == o.in_channels > 1 for o in trace.of(Kind.CONVOLUTION)))


def group_convolution(trace: Trace) -> str:
    """Return whether some convolution has groups of several channels."""
    return yes(any(1 < o.groups < o.in_channels for o in trace.of(Kind.CONVOLUTION)))


def yes(found: bool) -> str:  # noqa: FBT001  # a word for a truth value
    """Return the paper's word."""
    return YES if found else NO


def _yes_with(kinds: Iterable[str | None]) -> str:
    # a dict keeps the order in which they ran
    found = dict.fromkeys(kind for kind in kinds if kind is not None)
    return f"{YES} ({', '.join(found)})" if found else NO
