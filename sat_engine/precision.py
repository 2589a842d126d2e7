"""Ways of computing: plain float32, repeatable, and bfloat16 where a network has passed its gate."""

from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path

import torch


class Precision(StrEnum):
    """What a network's matrix products are computed in. Pixels, iterate, normalisation and loss are float32 always."""

    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"


def precision_of(numeric_path: str) -> Precision:
    """Return the precision that a recorded numeric path names; float32 for paths older than precisions."""
    return Precision.BFLOAT16 if numeric_path.split()[:1] == [Precision.BFLOAT16] else Precision.FLOAT32


def has_fast_bfloat16(device: torch.device) -> bool:
    """Return whether the device multiplies bfloat16 in hardware: a CPU with avx512_bf16 or amx, a GPU since Ampere."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    cpu = Path("/proc/cpuinfo")
    flags = cpu.read_text(encoding="ascii", errors="replace") if device.type == "cpu" and cpu.exists() else ""
    return "avx512_bf16" in flags or "amx_bf16" in flags


@contextmanager
def exact_float32() -> Iterator[None]:
    """Compute without TF32 and with repeatable CUDA kernels inside, and put torch's switches back afterwards.

    TF32 keeps 10 bits of a factor: enough to flip an argmax. On the CPU nothing changes.
    """
    matmul = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False):
            yield
    finally:
        torch.set_float32_matmul_precision(matmul)
