"""What happens in one forward pass: which operation, on which shapes, inside which module."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from sat_engine.batching import NO_ROOM, is_memory_error
from sat_engine.errors import ArchitectureError, NotComputableError

_PLANE = 4  # dimensions of (images, channels, height, width)
_TOKENS = 3  # dimensions of (images, tokens, channels)


class Kind(StrEnum):
    """What an operation is to us."""

    CONVOLUTION = "convolution"
    POOLING = "pooling"
    MEAN = "mean"
    CLS = "class token"
    MATRIX = "matrix product"
    ATTENTION = "attention"
    ACTIVATION = "activation"


@dataclass(frozen=True, kw_only=True, slots=True)
class Operation:
    """One operation of the forward pass; module is the dotted name of the innermost module it ran in.

    For convolutions of planes: kernel, stride, groups, in_channels, and positions, the pixels that came in (with
    padding); for poolings of planes kernel and stride. activation is the paper's name of the function. A convolution
    with a fixed filter, as in BlurPool, is a pooling.
    """

    kind: Kind
    module: str
    kernel: tuple[int, ...] = ()
    stride: tuple[int, ...] = ()
    groups: int = 1
    in_channels: int = 0
    positions: int = 0
    activation: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Call:
    """One module's call, after it returned: its dotted name, itself, and the elements of its first input."""

    name: str
    module: nn.Module
    elements: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Trace:
    """A forward pass of one image: operations and calls in order, multiply-accumulates."""

    operations: tuple[Operation, ...]
    calls: tuple[Call, ...]
    macs: int

    def of(self, kind: Kind) -> list[Operation]:
        """Return the operations of one kind, in order."""
        return [operation for operation in self.operations if operation.kind is kind]


def trace(module: nn.Module, *, input_side: int, channels: int) -> Trace:
    """Return what happens when the network, in eval mode, sees one grey image (1, channels, side, side).

    Works on any device, the meta device included. Raises ArchitectureError where the forward pass fails, and
    NotComputableError where it fails for want of memory.
    """
    recorder = _Recorder()
    parameter = next(module.parameters(), torch.empty(0))
    # as bright as a standardised image is on average, and nowhere exactly 0
    image = torch.full((1, channels, input_side, input_side), 0.5, device=parameter.device, dtype=parameter.dtype)
    with torch.no_grad(), _in_eval_mode(module), recorder.watching(module), recorder:
        try:
            module(image)
        except Exception as error:
            if is_memory_error(error):
                raise NotComputableError(NO_ROOM) from None
            reason = f"{type(error).__name__}: {error}".partition("\n")[0][:300]
            raise ArchitectureError(
                f"the network cannot take {channels} x {input_side} x {input_side} pixels: {reason}; "
                "check the input size and channels"
            ) from error
    # torch counts a multiplication and an addition as two
    return Trace(
        operations=tuple(recorder.operations), calls=tuple(recorder.calls), macs=recorder.floating_operations // 2
    )


@contextmanager
def _in_eval_mode(module: nn.Module) -> Iterator[None]:
    training = [part for part in module.modules() if part.training]
    module.eval()
    try:
        yield
    finally:
        for part in training:
            part.training = True


class _Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch types its hooks for subclasses so
    """Sees every operation below autograd, so functional calls are seen too."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        self.operations: list[Operation] = []
        self.calls: list[Call] = []
        self.floating_operations = 0
        self._stack: list[tuple[str, nn.Module]] = []

    @contextmanager
    def watching(self, module: nn.Module) -> Iterator[None]:
        """Know, inside, which part of the module is running."""
        with ExitStack() as stack:
            for name, part in module.named_modules():
                stack.callback(part.register_forward_pre_hook(self._entered(name)).remove)
                stack.callback(part.register_forward_hook(self._left(name)).remove)
            yield

    def _entered(self, name: str) -> Any:
        return lambda module, _inputs: self._stack.append((name, module))

    def _left(self, name: str) -> Any:
        def leave(module: nn.Module, inputs: Sequence[Any], _output: object) -> None:
            self._stack.pop()
            first = next((each for each in inputs if isinstance(each, Tensor)), None)
            self.calls.append(Call(name=name, module=module, elements=0 if first is None else first.numel()))

        return leave

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        description = _describe(func.overloadpacket.__name__.removesuffix("_"), args)
        if description is not None:
            name, module = self._stack[-1]
            if description["kind"] is Kind.CONVOLUTION and not any(True for _ in module.parameters(recurse=False)):
                description["kind"] = Kind.POOLING
            self.operations.append(Operation(module=name, **description))
        result = func(*args, **(kwargs or {}))
        # not torch's FlopCounterMode: it fails where a parameter is a module's input, as PiT's class token is
        if (count := flop_registry.get(func.overloadpacket)) is not None:
            self.floating_operations += count(*args, **(kwargs or {}), out_val=result)
        return result


# torch's names of operations, without the trailing _ of those that work in place
_ACTIVATIONS = {
    "relu": "ReLU",
    "gelu": "GeLU",
    "silu": "SiLU",
    "leaky_relu": "Leaky ReLU",
    "hardtanh": "ReLU6",  # clipping, which relu6 is
    "hardswish": "HardSwish",
    "mish": "Mish",
    "elu": "ELU",
    "_prelu_kernel": "PReLU",
}
_POOLINGS = {"max_pool2d", "max_pool2d_with_indices", "avg_pool2d"}
_KINDS = {
    **dict.fromkeys(("mean", "_adaptive_avg_pool2d", "adaptive_avg_pool2d"), Kind.MEAN),
    **dict.fromkeys(("mm", "addmm", "bmm", "baddbmm", "linear"), Kind.MATRIX),
    "_softmax": Kind.ATTENTION,
}
_FUSED_ATTENTION = "_scaled_dot_product_"


def _describe(name: str, args: Sequence[Any]) -> dict[str, Any] | None:
    """Return the fields, but for the module, of the operation that torch names so; None where it is of no interest."""
    if name in _ACTIVATIONS:
        return {"kind": Kind.ACTIVATION, "activation": _ACTIVATIONS[name]}
    if name == "convolution":
        return _describe_convolution(args)
    if name == "select" and args[0].ndim == _TOKENS and tuple(args[1:3]) == (1, 0):
        return {"kind": Kind.CLS}
    if name in _POOLINGS:
        kernel, *rest = args[1:]
        return {"kind": Kind.POOLING, "kernel": tuple(kernel), "stride": tuple(rest[0] if rest and rest[0] else kernel)}
    kind = Kind.ATTENTION if name.startswith(_FUSED_ATTENTION) else _KINDS.get(name)
    return None if kind is None else {"kind": kind}


def _describe_convolution(args: Sequence[Any]) -> dict[str, Any] | None:
    incoming, weight, _bias, stride = args[:4]
    if incoming.ndim != _PLANE:
        return None  # ECA's convolution runs along channels
    return {
        "kind": Kind.CONVOLUTION,
        "kernel": tuple(weight.shape[2:]),
        "stride": tuple(stride),
        "groups": args[8],
        "in_channels": incoming.shape[1],
        # TNT convolves patches as a batch
        "positions": incoming.shape[0] * incoming.shape[2] * incoming.shape[3],
    }
