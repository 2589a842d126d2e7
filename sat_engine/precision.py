"""One way of computing: plain float32, repeatable."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


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
