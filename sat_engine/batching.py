"""How many images go through a network at once, halved until they fit into memory."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum

import torch

from sat_engine.errors import NotComputableError
from sat_engine.numeric_path import batch_of

# Positions a chunk. A CPU gains nothing above 64; a GPU wants more work at once.
CHUNKS = {"cpu": 64, "cuda": 256}
NO_ROOM = (
    "the network does not fit into this device's memory with a single image; measure it on a worker with more memory"
)
# How torch's allocators, cuBLAS, cuDNN, C++ and oneDNN (whose scratch memory did not fit) say it.
_MEMORY_WORDS = (
    "out of memory",
    "can't allocate memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
    "std::bad_alloc",
    "could not create a memory object",
    "could not create a primitive",
)


class Pass(StrEnum):
    """What is computed: logits alone, or gradients too, which take several times the memory."""

    FORWARD = "forward"
    GRADIENT = "gradient"


class BatchHalvedError(Exception):
    """The memory did not suffice; the batch is smaller now, and the call must begin again."""


@dataclass(slots=True)
class Batch:
    """The batch of one network on one device, kept for the life of a process so that it is found once.

    Work is cut into chunks of positions; the images of a chunk go through the network in pieces of at most `forward`
    (or `gradient`) images. Both begin at the chunk and are halved by memory errors.
    """

    chunk: int
    forward: int
    gradient: int

    @classmethod
    def of(cls, chunk: int) -> "Batch":
        """Return a batch of whole chunks."""
        return cls(chunk, chunk, chunk)

    @classmethod
    def default(cls, device: torch.device) -> "Batch":
        """Return where a device begins."""
        return cls.of(CHUNKS.get(device.type, CHUNKS["cpu"]))

    @classmethod
    def recorded(cls, path: str, device: torch.device) -> "Batch":
        """Return the batch that a numeric path names, for work on the device; its default where the path has none."""
        whole = cls.default(device)
        forward, gradient = batch_of(path) or (whole.forward, whole.gradient)
        return cls(whole.chunk, min(forward, whole.chunk), min(gradient, whole.chunk))

    def describe(self) -> str:
        """Return it for a numeric path: "batch=64", or "batch=64/16" where gradients need smaller pieces."""
        return f"batch={self.forward}" if self.forward == self.gradient else f"batch={self.forward}/{self.gradient}"

    def pieces(self, n: int, kind: Pass) -> Iterator[slice]:
        """Yield slices that cover 0 … n."""
        size = self.forward if kind is Pass.FORWARD else self.gradient
        for start in range(0, n, size):
            yield slice(start, min(start + size, n))

    @contextmanager
    def fitting(self, kind: Pass) -> Iterator[None]:
        """Halve the batch and raise BatchHalvedError where torch runs out of memory inside.

        NotComputableError where one image is already too much.
        """
        try:
            yield
        except (RuntimeError, MemoryError) as error:
            if not is_memory_error(error):
                raise
            self._halve(kind)
            # the error stays this one's context, and its frames hold the tensors that did not fit: whoever catches
            # it lets go of it before memory is given back
            raise BatchHalvedError from None

    def _halve(self, kind: Pass) -> None:
        if (self.forward if kind is Pass.FORWARD else self.gradient) == 1:
            raise NotComputableError(NO_ROOM)
        self.gradient = max(1, self.gradient // 2)
        if kind is Pass.FORWARD:
            self.forward = max(1, self.forward // 2)


def is_memory_error(error: Exception) -> bool:
    """Return whether torch, on any device, or a library of its own raised this for want of memory."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or (
        isinstance(error, RuntimeError) and any(words in str(error) for words in _MEMORY_WORDS)
    )


def give_back_memory(device: torch.device) -> None:
    """Return what torch keeps of a GPU's freed memory; to be called where no error holds tensors any more."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
