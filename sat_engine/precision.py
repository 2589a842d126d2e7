"""Ways of computing: plain float32, repeatable, and bfloat16 where a network has passed its gate."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from enum import StrEnum
from functools import cache
from pathlib import Path

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils import deterministic

# How much faster a product in bfloat16 must be: what autocast converts comes on top.
WORTHWHILE = 1.3
_SIDE, _TRIES = 512, 7


class Precision(StrEnum):
    """What a network's matrix products are computed in. Pixels, iterate, normalisation and loss are float32 always."""

    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"


def precision_of(numeric_path: str) -> Precision:
    """Return the precision that a recorded numeric path names; float32 for paths older than precisions."""
    return Precision.BFLOAT16 if numeric_path.split()[:1] == [Precision.BFLOAT16] else Precision.FLOAT32


def has_bfloat16(device: torch.device) -> bool:
    """Return whether the device multiplies bfloat16 in hardware: a CPU with avx512_bf16 or amx, a GPU since Ampere."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    cpu = Path("/proc/cpuinfo")
    flags = cpu.read_text(encoding="ascii", errors="replace") if device.type == "cpu" and cpu.exists() else ""
    return "avx512_bf16" in flags or "amx_bf16" in flags


@cache
def has_fast_bfloat16(device: torch.device) -> bool:
    """Return whether bfloat16 brings anything there: in hardware, and on a CPU as measured, once a process.

    What a CPU announces is not what it does: on a virtual Xeon with avx512_bf16 a product took 1.8 times as long as in
    float32 (docs/benchmarks.md, of 28 November 2026).
    """
    if not has_bfloat16(device):
        return False
    return device.type != "cpu" or _seconds(torch.float32) >= WORTHWHILE * _seconds(torch.bfloat16)


def _seconds(dtype: torch.dtype) -> float:
    """The processor seconds of this thread for a product of two matrices, the best of some."""
    a, b = torch.ones((_SIDE, _SIDE), dtype=dtype), torch.ones((_SIDE, _SIDE), dtype=dtype)
    taken = []
    with torch.inference_mode():
        for _ in range(_TRIES):
            started = time.thread_time()
            torch.mm(a, b)
            taken.append(time.thread_time() - started)
    return min(taken)


@contextmanager
def exact_float32() -> Iterator[None]:
    """Compute without TF32 and with repeatable CUDA kernels inside, and put torch's switches back afterwards.

    TF32 keeps 10 bits of a factor: enough to flip an argmax. On the CPU nothing changes.
    """
    matmul = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        with (
            torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False),
            _repeatable_cuda() if _uses_cuda() else nullcontext(),
        ):
            yield
    finally:
        torch.set_float32_matmul_precision(matmul)


def _uses_cuda() -> bool:
    return bool(torch.cuda.is_initialized())  # type: ignore[no-untyped-call]  # torch ships it untyped


@contextmanager
def _repeatable_cuda() -> Iterator[None]:
    """Take CUDA kernels that add in one order, where torch has them; where it has none, it warns and goes on.

    While it merely warns, torch's fused attention kernels (flash, memory-efficient, cuDNN) all keep a backward of any
    order, so gradients take the plain products.
    """
    before = torch.are_deterministic_algorithms_enabled()
    warned = torch.is_deterministic_algorithms_warn_only_enabled()
    fill: bool = deterministic.fill_uninitialized_memory  # type: ignore[attr-defined]  # made at run time
    torch.use_deterministic_algorithms(True, warn_only=True)
    # fresh memory is written before it is read, here as without the switch
    deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # the same
    try:
        with sdpa_kernel(SDPBackend.MATH) if torch.is_grad_enabled() else nullcontext():
            yield
    finally:
        torch.use_deterministic_algorithms(before, warn_only=warned)
        deterministic.fill_uninitialized_memory = fill  # type: ignore[attr-defined]  # the same


def make_cublas_repeatable() -> None:
    """Give cuBLAS workspaces of a fixed size, so that a product is the same every time.

    It changes the whole process and must come before its first use of a GPU, so only programs call it.
    """
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
