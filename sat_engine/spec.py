"""What a network is, before any weight is loaded. Needs neither torch nor numpy."""

import json
import re
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from math import isfinite
from types import MappingProxyType

from sat_engine.errors import ArchitectureError

MAX_SIDE = 1024  # pixels
MAX_LIST = 16
# Tokens a side, where the patch size is asked for: what networks compute for each of 128 x 128 takes gigabytes already.
MAX_TOKENS = 128
_WORD = re.compile(r"[a-z_]{0,20}", re.ASCII)
# Build arguments that may come from outside, with the largest value each may take; a list must stay below it in
# every item. They shape a network and do nothing else. Bounds keep a request from building a network of terabytes.
_LARGEST: Mapping[str, int] = MappingProxyType(
    {
        "num_classes": 100_000,
        "in_chans": 3,
        "img_size": MAX_SIDE,
        "patch_size": 64,
        # each block of a windowed network keeps a table of its fourth power
        "window_size": 32,
        # width and depth, by the names that timm's constructors use
        "embed_dim": 4096,
        "dims": 4096,
        "depth": 128,
        "depths": 128,
        "num_blocks": 128,
        "num_heads": 128,
        "mlp_ratio": 16,
    }
)
ALLOWED_MODEL_ARGS: frozenset[str] = frozenset({*_LARGEST, "global_pool"})


@dataclass(frozen=True, kw_only=True, slots=True)
class NetworkSpec:
    """All that shapes a network's outputs, save its weights. ArchitectureError where a value makes no sense.

    input_side is in pixels, channels are the network's own (1 or 3), mean and std are per channel of a [0, 1]
    pixel, and class_map[j] is the network's output that stands for class j of the task.
    """

    architecture: str
    model_args: Mapping[str, object]
    input_side: int
    channels: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    class_map: tuple[int, ...]

    def __post_init__(self) -> None:
        check_model_args(self.model_args)
        if not 1 <= self.input_side <= MAX_SIDE:
            raise ArchitectureError(f"the input size is {self.input_side} pixels; give 1 to {MAX_SIDE}")
        check_tokens(self.model_args, self.input_side)
        if self.channels not in (1, 3):
            raise ArchitectureError(f"the network has {self.channels} input channels; 1 and 3 can be measured")
        if len(self.mean) != self.channels or len(self.std) != self.channels:
            raise ArchitectureError(
                f"mean has {len(self.mean)} and std {len(self.std)} values for {self.channels} input channels"
            )
        if not all(map(isfinite, (*self.mean, *self.std))) or min(self.std) <= 0:
            raise ArchitectureError("mean and std must be finite numbers and std above 0, in units of a [0, 1] pixel")
        if not self.class_map or min(self.class_map) < 0 or len(set(self.class_map)) != len(self.class_map):
            raise ArchitectureError("every class of the task needs an output of the network of its own")


def check_model_args(model_args: Mapping[str, object]) -> None:
    """Raise ArchitectureError unless every build argument is allowed and of a sensible size."""
    if refused := sorted(set(model_args) - ALLOWED_MODEL_ARGS):
        raise ArchitectureError(
            f"the build argument {', '.join(refused)} is not allowed; "
            f"allowed are {', '.join(sorted(ALLOWED_MODEL_ARGS))}"
        )
    for name, value in model_args.items():
        if name == "global_pool":
            if not isinstance(value, str) or not _WORD.fullmatch(value):
                raise ArchitectureError(f"global_pool is {value!r}; give one word such as avg")
        else:
            _check_size(name, value)


def check_tokens(model_args: Mapping[str, object], input_side: int) -> None:
    """Raise ArchitectureError where the patch size that is asked for cuts the input into too many tokens.

    The arguments have passed check_model_args.
    """
    side = max([input_side, *_numbers(model_args.get("img_size"))])
    patch = min(_numbers(model_args.get("patch_size")) or [side])
    if side / patch > MAX_TOKENS:
        raise ArchitectureError(
            f"patches of {patch:g} pixels cut {side:g} pixels into {side / patch:.0f} tokens a side; at most "
            f"{MAX_TOKENS} can be measured: give a larger patch_size or a smaller input"
        )


def _numbers(value: object) -> list[float]:
    items = value if isinstance(value, list | tuple) else [value]
    return [item for item in items if isinstance(item, int | float)]


def _check_size(name: str, value: object) -> None:
    items = value if isinstance(value, list | tuple) else [value]
    if not 1 <= len(items) <= MAX_LIST or not all(_is_size(item, name) for item in items):
        raise ArchitectureError(
            f"the build argument {name} is {value!r:.60}; give a number above 0 and up to {_LARGEST[name]}, "
            "or a list of such numbers"
        )


def _is_size(item: object, name: str) -> bool:
    if isinstance(item, bool) or not isinstance(item, int | float):
        return False
    return 0 < item <= _LARGEST[name] and (isinstance(item, int) or name == "mlp_ratio")


def network_digest(spec: NetworkSpec, weights_digest: bytes, classes: Sequence[str]) -> bytes:
    """Return the sha256 (32 bytes) that names a network: what it is built from, its weights, its ordered classes."""
    named = {
        "architecture": spec.architecture,
        "model_args": dict(spec.model_args),
        "input_side": spec.input_side,
        "channels": spec.channels,
        "mean": _as_float32(spec.mean),
        "std": _as_float32(spec.std),
        "class_map": spec.class_map,
        "classes": list(classes),
        "weights": weights_digest.hex(),
    }
    return sha256(json.dumps(named, sort_keys=True, separators=(",", ":")).encode()).digest()


def _as_float32(values: Sequence[float]) -> list[float]:
    # the network computes in float32, and so do tables that store these: 0.485 must not become another network
    return list(struct.unpack(f"<{len(values)}f", struct.pack(f"<{len(values)}f", *values)))
