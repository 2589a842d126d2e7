"""The same layers, computed faster on a CPU when only the gradient to the input is wanted.

Each one was kept because it was measured to pay (docs/performance.md); results differ from torch's by rounding alone.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

# A stem is a strided convolution of the pixels. With kernels this wide, oneDNN's gradient to so few channels is slow.
_MOST_STEM_CHANNELS = 4
_LEAST_STEM_KERNEL = 5
_LEAST_BATCH = 16


class ConvolvedLinear(nn.Linear):
    """A linear layer as a 1 x 1 convolution: oneDNN's kernels in place of MKL's, 2 to 2.8 times as fast on an EPYC."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002  # torch's name
        """Return (n, …, out) of (n, …, in)."""
        # with one thread, torch gives smaller batches of 1 x 1 convolutions to MKL after all
        if input.dtype is not torch.float32 or len(input) < _LEAST_BATCH or input.ndim == 1:
            return functional.linear(input, self.weight, self.bias)
        rows = input.reshape(len(input), -1, 1, self.in_features).permute(0, 3, 1, 2)  # (n, in, rows, 1)
        weight = self.weight.view(self.out_features, self.in_features, 1, 1)
        columns = functional.conv2d(rows, weight, self.bias)
        return columns.permute(0, 2, 3, 1).reshape(*input.shape[:-1], self.out_features)


class StemConv2d(nn.Conv2d):
    """A strided convolution of the pixels, whose gradient is taken block by block."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002  # torch's name
        """Return what nn.Conv2d does."""
        if input.dtype is not torch.float32 or not input.requires_grad or self.weight.requires_grad:
            return super().forward(input)
        output: Tensor = _StemConvolution.apply(input, self.weight, self.bias, self.stride[0], self.padding[0])
        return output


class _StemConvolution(torch.autograd.Function):
    """conv2d forward; backward as a convolution over blocks of stride x stride pixels, which has stride 1."""

    @staticmethod
    def forward(  # noqa: PLR0917  # torch passes them by position
        ctx: Any, pixels: Tensor, weight: Tensor, bias: Tensor | None, stride: int, padding: int
    ) -> Tensor:
        ctx.save_for_backward(weight)
        ctx.shape, ctx.stride, ctx.padding = pixels.shape, stride, padding
        return functional.conv2d(pixels, weight, bias, stride, padding)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None, None]:
        (weight,) = ctx.saved_tensors
        stride, (n, channels, height, width) = ctx.stride, ctx.shape
        # taps are moved right until the padding is whole blocks
        shift = -ctx.padding % stride
        before = ctx.padding + shift
        blocks = functional.conv_transpose2d(gradient, _by_blocks(weight, stride, shift))
        rows, columns = blocks.shape[2:]
        by_pixel = blocks.permute(0, 2, 3, 1).view(n, rows, columns, stride, stride, channels)
        padded = by_pixel.permute(0, 5, 1, 3, 2, 4).reshape(n, channels, rows * stride, columns * stride)
        # pixels that no tap reached have no gradient
        after = (before + height - rows * stride, before + width - columns * stride)
        pixels = functional.pad(padded, (-before, after[1], -before, after[0]))
        return pixels, None, None, None, None


def _by_blocks(weight: Tensor, stride: int, shift: int) -> Tensor:
    """Return weight (out, c, k, k) as (out, stride · stride · c, b, b), its taps moved right and down by shift."""
    out, channels, kernel, _ = weight.shape
    blocks = -(-(kernel + shift) // stride)
    after = blocks * stride - kernel - shift
    taps = functional.pad(weight, (shift, after, shift, after)).view(out, channels, blocks, stride, blocks, stride)
    by_block = taps.permute(0, 3, 5, 1, 2, 4).reshape(out, stride * stride * channels, blocks, blocks)
    return by_block.contiguous(memory_format=torch.channels_last)


def use_cpu_kernels(network: nn.Module) -> None:
    """Give a frozen network's layers these forwards in place; parameters and names stay."""
    for module in network.modules():
        if type(module) is nn.Linear:
            module.__class__ = ConvolvedLinear
        elif type(module) is nn.Conv2d and _is_stem(module):
            module.__class__ = StemConv2d


def unfuse_attention(network: nn.Module) -> bool:
    """Have timm's attention multiply by itself, not by torch's fused kernel; return whether there is any.

    In bfloat16 on a CPU, the fused kernel's own products are slow: 26 ms, forward and backward, where oneDNN's took 7.
    In float32 they are equally fast.
    """
    fused = [module for module in network.modules() if getattr(module, "fused_attn", False) is True]
    for module in fused:
        setattr(module, "fused_attn", False)  # noqa: B010  # to mypy, a module's attributes are tensors or modules
    return bool(fused)


def _is_stem(convolution: nn.Conv2d) -> bool:
    kernel, stride, padding = convolution.kernel_size, convolution.stride, convolution.padding
    return (
        convolution.in_channels <= _MOST_STEM_CHANNELS
        and convolution.groups == 1
        and convolution.padding_mode == "zeros"
        and convolution.dilation == (1, 1)
        and kernel[0] == kernel[1] >= _LEAST_STEM_KERNEL
        and stride[0] == stride[1] > 1
        and isinstance(padding, tuple)
        and padding[0] == padding[1]
    )
