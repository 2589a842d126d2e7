"""Random numbers that belong to an image, whatever the batch, the order and the device."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_WORDS_A_NUMBER = 4  # a 64-bit word makes four numbers of 16 bits


@dataclass(frozen=True, slots=True)
class Draws:
    """The random numbers of n images: the raw bits of Philox keyed by (seed, position in the attack part).

    Raw bits and exact arithmetic: no library version turns them into other numbers. They are made on the CPU.
    """

    seed: int
    positions: NDArray[np.integer]

    def uniform(self, like: Tensor, index: int) -> Tensor:
        """Return numbers in (-1, 1), 65,536 different ones, of the shape (n, c, h, w) and on the device of `like`.

        index: which draw of the images it is. A GPU does not wait for it: the copy is queued like its other work.
        """
        count = like[0].numel()
        drawn = torch.from_numpy(np.stack([self._numbers(int(position), index, count) for position in self.positions]))
        if like.is_cuda:
            # from pageable memory, the copy would wait for all work before it
            drawn = drawn.pin_memory()
        return drawn.to(like.device, non_blocking=True).view_as(like)

    def _numbers(self, position: int, index: int, count: int) -> NDArray[np.float32]:
        key, counter = np.array([self.seed, position], np.uint64), np.array([0, 0, 0, index + 1], np.uint64)
        words = np.random.Philox(key=key, counter=counter).random_raw(-(-count // _WORDS_A_NUMBER))
        levels = words.astype("<u8").view("<u2")[:count].astype(np.float32)
        # the middles of 65,536 equal steps; each is exact in float32
        return np.asarray((levels + 0.5) / 2**15 - 1, np.float32)
