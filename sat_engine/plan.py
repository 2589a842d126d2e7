"""What the first build of a network finds out, so that the next ones need not look."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """How to build one network again, from the same checked weights, without running it.

    outputs: of the network itself, before any class map. foldings: the names of (convolution, batch norm) that were
    checked to be one; None where the network was built as it is. real: its constructor makes tensors that no
    checkpoint holds (Swin has 17), so it cannot be made on the meta device.
    """

    outputs: int
    foldings: tuple[tuple[str, str], ...] | None
    real: bool
