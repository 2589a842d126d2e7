"""Fitting a checkpoint's tensors to an architecture: exactly, or not at all."""

from collections.abc import Mapping
from enum import StrEnum

import torch
from torch import Tensor

from sat_engine.errors import CheckpointError

SHOWN = 5  # differing tensors named in an error
# What training scripts wrap a network's tensors in; flattened names join nested names with dots.
_RAW_WRAPPERS = ("state_dict.", "model_state_dict.", "model.")
_EMA_WRAPPERS = ("state_dict_ema.", "ema_state_dict.", "model_ema.", "ema.")
_LEVELS = ("module.", "_orig_mod.")  # DataParallel, torch.compile
_CONVERTED = (torch.float16, torch.bfloat16, torch.float64, torch.float32)


class Weights(StrEnum):
    """Which of a checkpoint's weights are meant."""

    RAW = "raw"
    EMA = "ema"


def fit(
    tensors: Mapping[str, Tensor],
    expected: Mapping[str, Tensor],
    *,
    weights: str = Weights.RAW,
    known_finite: bool = False,
) -> dict[str, Tensor]:
    """Return the checkpoint's tensors under the network's own names, floating ones in float32.

    expected is the network's state dict (it may be on the meta device). Wrapper names (`state_dict.`, `module.` …)
    are removed; nothing else is guessed. CheckpointError names the first tensors that differ, or are not finite.
    known_finite: these very weights were looked at before.
    """
    found = _unwrapped(tensors, set(expected), Weights(weights))
    _require_same(found, expected)
    fitted = {name: _as_float32(found[name]) for name in expected}
    if not known_finite:
        for name, tensor in fitted.items():
            _require_finite(name, tensor)
    return fitted


def _unwrapped(tensors: Mapping[str, Tensor], expected: set[str], weights: Weights) -> Mapping[str, Tensor]:
    wrappers = _EMA_WRAPPERS if weights is Weights.EMA else _RAW_WRAPPERS
    found = tensors
    for wrapper in wrappers:
        inside = {name.removeprefix(wrapper): tensor for name, tensor in tensors.items() if name.startswith(wrapper)}
        # a network may have a part of its own called "model"
        if inside and not any(name.startswith(wrapper) for name in expected):
            found = inside
            break
    else:
        found = {name: tensor for name, tensor in tensors.items() if not _is_average(name, expected)}
        if weights is Weights.EMA:
            raise CheckpointError(
                f"there are no averaged weights in this checkpoint (names beginning with {', '.join(_EMA_WRAPPERS)}); "
                "register it with weights: raw"
            )
    while level := next((level for level in _LEVELS if _is_around(level, found, expected)), None):
        found = {name.removeprefix(level): tensor for name, tensor in found.items()}
    return found


def _is_average(name: str, expected: set[str]) -> bool:
    # averages saved beside the raw weights are nothing that the raw network lacks
    return name.startswith(_EMA_WRAPPERS) and name not in expected


def _is_around(level: str, found: Mapping[str, Tensor], expected: set[str]) -> bool:
    everywhere = bool(found) and all(name.startswith(level) for name in found)
    return everywhere and not all(name.startswith(level) for name in expected)


def _require_same(found: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    differences = [
        difference for name in expected if (difference := _difference(name, found.get(name), expected[name]))
    ]
    differences += [f"{name} is unexpected" for name in sorted(set(found) - set(expected))]
    if differences:
        more = f" … and {len(differences) - SHOWN} more" if len(differences) > SHOWN else ""
        raise CheckpointError(
            f"the checkpoint does not fit the architecture; {len(differences)} tensors differ: "
            f"{'; '.join(differences[:SHOWN])}{more}. "
            "Check the architecture and its num_classes, in_chans, img_size and patch_size"
        )


def _difference(name: str, found: Tensor | None, expected: Tensor) -> str | None:
    if found is None:
        return f"{name} is missing"
    if found.shape != expected.shape:
        return f"{name} is {tuple(found.shape)} and should be {tuple(expected.shape)}"
    fits = found.dtype in _CONVERTED if expected.dtype == torch.float32 else found.dtype == expected.dtype
    return None if fits else f"{name} is {found.dtype} and should be {expected.dtype}"


def _as_float32(tensor: Tensor) -> Tensor:
    return tensor.to(torch.float32) if tensor.is_floating_point() else tensor


def _require_finite(name: str, tensor: Tensor) -> None:
    if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
        raise CheckpointError(f"tensor {name} holds values that are not finite numbers (NaN or infinity)")
