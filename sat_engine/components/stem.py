"""Components of the stem: the layers that take the image, up to the first block."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise, takewhile

from torch import nn

from sat_engine.components.trace import Kind, Operation, Trace


@dataclass(frozen=True, kw_only=True, slots=True)
class Stem:
    """Where the network begins: its modules' dotted names, its convolutions in order, and whether it pools."""

    modules: tuple[str, ...]
    convolutions: tuple[Operation, ...]
    pools: bool


def find_stem(network: nn.Module, trace: Trace) -> Stem | None:
    """Return the module that takes the image and the single layers that follow it; None without a convolution.

    That module is the outermost one around the first convolution which holds at most half of all convolutions.
    """
    convolutions = trace.of(Kind.CONVOLUTION)
    if not convolutions:
        return None
    container, first = _split(network, convolutions)
    siblings = _siblings_after(network, container, first)
    modules = (first, *takewhile(lambda name: _continues(network.get_submodule(name)), siblings))
    pooled = _index_of_pooling(trace, (*modules, container))
    # siblings stand in the order of their definition: only those that ran at once belong
    begun = takewhile(
        lambda each: each.kind is not Kind.CONVOLUTION or is_within_any(each.module, modules),
        trace.operations[:pooled],
    )
    found = tuple(each for each in begun if each.kind is Kind.CONVOLUTION)
    return Stem(modules=modules, convolutions=found, pools=pooled is not None)


def notation(stem: Stem, *, input_side: int) -> str | None:
    """Return the stem's convolutions in the paper's notation: "3s2/3/3s2" is kernel 3 and stride 2, and so on.

    None where the image is rearranged or shrunk before the first convolution, or a kernel is not square.
    """
    first, *later = stem.convolutions
    if first.positions < input_side**2:
        return None
    if any(len({*each.kernel}) > 1 or len({*each.stride}) > 1 for each in stem.convolutions):
        return None
    steps = (f"{each.kernel[0]}" + (f"s{each.stride[0]}" if each.stride[0] > 1 else "") for each in later)
    return "/".join([f"{first.kernel[0]}s{first.stride[0]}", *steps])


def is_within_any(module: str, others: Iterable[str]) -> bool:
    """Return whether the module with this dotted name is one of the others or inside one."""
    return any(not other or module == other or module.startswith(f"{other}.") for other in others)


def _split(network: nn.Module, convolutions: list[Operation]) -> tuple[str, str]:
    """Return the dotted names of what the stem stands in, and of its first module."""
    steps = convolutions[0].module.split(".")
    names = [".".join(steps[:depth]) for depth in range(len(steps) + 1)]
    for container, name in pairwise(names):
        inside = sum(is_within_any(each.module, [name]) for each in convolutions)
        if 2 * inside <= len(convolutions) and not isinstance(network.get_submodule(name), nn.ModuleList):
            return container, name
    return names[-2], names[-1]


def _siblings_after(network: nn.Module, container: str, first: str) -> list[str]:
    parent = network.get_submodule(container)
    if isinstance(parent, nn.ModuleList):
        return []  # one a stage or branch
    names = [f"{container}.{name}" if container else name for name, _ in parent.named_children()]
    return names[names.index(first) + 1 :]


def _continues(module: nn.Module) -> bool:
    """Return whether a module is a single layer: a convolution beyond 1 x 1, a normalisation, an activation, a pooling.

    timm's wrappers of one convolution with its normalisation are all named Conv...
    """
    convolutions = [part for part in module.modules() if isinstance(part, nn.Conv2d)]
    if not convolutions:
        return all(parameter.ndim == 1 for parameter in module.parameters())
    single = isinstance(module, nn.Conv2d) or "Conv" in type(module).__name__
    return single and len(convolutions) == 1 and max(convolutions[0].kernel_size) > 1


def _index_of_pooling(trace: Trace, modules: Sequence[str]) -> int | None:
    """Return where a shrinking pooling runs in these modules before any other module convolves or multiplies."""
    *inside, container = modules
    for i, each in enumerate(trace.operations):
        belongs = each.module == container or is_within_any(each.module, inside)
        if each.kind is Kind.POOLING and max(each.stride) > 1 and belongs:
            return i
        if each.kind is Kind.MATRIX or (each.kind is Kind.CONVOLUTION and not belongs):
            return None
    return None
