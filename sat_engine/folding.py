"""Batch normalisation folded into the convolution before it: the same function with one layer less."""

import copy
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from sat_engine.precision import exact_float32

# Of the largest logit: rounding gives about 1e-6, a wrong folding gives more than 1e-2.
TOLERANCE = 1e-3


Pairs = tuple[tuple[str, str], ...]  # names of a convolution and of the batch norm that follows it


def fold(network: nn.Module, pixels: Tensor) -> Pairs:
    """Fold the batch norms of an eval network in place; return which, none where the logits would not stay the same.

    pixels (n, c, s, s) is some normalised input, on which the network is traced and afterwards checked. A batch norm
    is folded only where a convolution's output goes nowhere else.
    """
    if not any(isinstance(module, nn.BatchNorm2d) for module in network.modules()):
        return ()
    with torch.no_grad(), exact_float32():
        before, pairs = _trace(network, pixels)
        originals = {name: network.get_submodule(name) for pair in pairs for name in pair}
        fold_known(network, pairs)
        if _agree(before, network(pixels)):
            return pairs
        for name, module in originals.items():
            network.set_submodule(name, module)
        return ()


def fold_known(network: nn.Module, pairs: Pairs) -> None:
    """Fold in place what fold found in a network of the same architecture and weights; nothing is run."""
    with torch.no_grad():
        for convolution, norm in pairs:
            folded, rest = _merged(network.get_submodule(convolution), network.get_submodule(norm))
            network.set_submodule(convolution, folded)
            network.set_submodule(norm, rest)


class _Uses(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch ships this class untyped
    """Count by identity how many operations take each tensor; every tensor is kept, so no identity is used twice."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # the same
        self.count: Counter[int] = Counter()
        self._kept: list[Tensor] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        taken = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        self.count.update({id(tensor) for tensor in taken})
        self._kept += taken
        return func(*args, **(kwargs or {}))


def _trace(network: nn.Module, pixels: Tensor) -> tuple[Tensor, Pairs]:
    """Return the logits and the names of (convolution, batch norm) pairs that can be one."""
    made: list[tuple[str, Tensor]] = []
    taken: list[tuple[str, Tensor]] = []
    hooks = []
    for name, module in network.named_modules():
        if type(module) in _convolutions():
            hooks.append(module.register_forward_hook(lambda _, __, out, name=name: made.append((name, out))))
        elif type(module) in _norms():
            hooks.append(module.register_forward_pre_hook(lambda _, given, name=name: taken.append((name, given[0]))))
    try:
        with _Uses() as uses:
            logits: Tensor = network(pixels)
    finally:
        for hook in hooks:
            hook.remove()
    calls = Counter(name for name, _ in [*made, *taken])
    makers = {id(output): name for name, output in made}
    pairs = [(makers[id(given)], norm) for norm, given in taken if id(given) in makers and uses.count[id(given)] == 1]
    return logits, tuple(pair for pair in pairs if all(calls[name] == 1 for name in pair))


def _convolutions() -> tuple[type[nn.Module], ...]:
    from timm.layers import Conv2dSame

    # not those that standardise their weights: they would undo the folding
    return nn.Conv2d, Conv2dSame


def _norms() -> tuple[type[nn.Module], ...]:
    from timm.layers import BatchNormAct2d

    return nn.BatchNorm2d, BatchNormAct2d


def _merged(convolution: nn.Module, norm: nn.Module) -> tuple[nn.Module, nn.Module]:
    """Return the convolution with the norm in it, and what is left of the norm: nothing, or its activation."""
    assert isinstance(convolution, nn.Conv2d)
    assert isinstance(norm, nn.BatchNorm2d)
    assert norm.running_mean is not None
    assert norm.running_var is not None
    # in float64, so that only the results are rounded
    scale = (norm.running_var.double() + norm.eps).rsqrt() * (1 if norm.weight is None else norm.weight.double())
    shift = -norm.running_mean.double() if convolution.bias is None else convolution.bias - norm.running_mean.double()
    bias = shift * scale + (0 if norm.bias is None else norm.bias.double())
    folded = copy.copy(convolution)
    # a shallow copy shares its dict of parameters with the original
    folded._parameters = {  # noqa: SLF001  # the one way to give a copy parameters of its own
        "weight": _frozen((convolution.weight.double() * scale.view(-1, 1, 1, 1)).float()),
        "bias": _frozen(bias.float()),
    }
    left = [getattr(norm, name) for name in ("drop", "act") if hasattr(norm, name)]
    return folded, nn.Sequential(*left) if left else nn.Identity()


def _frozen(tensor: Tensor) -> nn.Parameter:
    layout = torch.channels_last if tensor.ndim == 4 else torch.contiguous_format  # noqa: PLR2004  # a kernel's axes
    return nn.Parameter(tensor.contiguous(memory_format=layout), requires_grad=False)


def _agree(before: Tensor, after: Tensor) -> bool:
    return bool((before - after).abs().max() <= TOLERANCE * before.abs().max().clamp(min=1))
