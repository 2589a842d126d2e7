"""One bit an image: how outcomes are stored. Big-endian within a byte, zero padding at the end."""

import numpy as np
from numpy.typing import NDArray


def pack(outcomes: NDArray[np.bool_]) -> bytes:
    """Return outcomes (n,) as ceil(n / 8) bytes; the first image is the highest bit of the first byte."""
    if outcomes.dtype != np.bool_ or outcomes.ndim != 1:
        raise ValueError(f"bits are packed from bool (n,), not {outcomes.dtype} {outcomes.shape}")
    return np.packbits(outcomes, bitorder="big").tobytes()


def unpack(packed: bytes, n: int) -> NDArray[np.bool_]:
    """Return the n outcomes (n,) in packed; ValueError when packed is not exactly n bits and zero padding."""
    if len(packed) != (n + 7) // 8:
        raise ValueError(f"{n} bits take {(n + 7) // 8} bytes, but {len(packed)} were given")
    unpacked = np.unpackbits(np.frombuffer(packed, np.uint8), bitorder="big").astype(np.bool_)
    if unpacked[n:].any():
        raise ValueError(f"the padding after {n} bits is not zero: these bits belong to a longer array")
    return unpacked[:n]


def count(packed: bytes) -> int:
    """Return how many bits are set."""
    return int.from_bytes(packed).bit_count()
