"""The fixed order in which an image set's images are read."""

from hashlib import sha256

import numpy as np
from numpy.typing import NDArray


def order(n: int, seed: int) -> NDArray[np.int64]:
    """Return the permutation (n,) of 0 … n-1 sorted by sha256("<seed>:<index>").

    Hashes rather than a random generator: the same in every version, library and language.
    """
    digests = [sha256(f"{seed}:{index}".encode()).digest() for index in range(n)]
    return np.array(sorted(range(n), key=digests.__getitem__), dtype=np.int64)
