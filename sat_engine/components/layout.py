"""Components read off the network's layout: its stages and its final pooling."""

from sat_engine.components.layers import NO, YES, norm_of
from sat_engine.components.stem import Stem, is_within_any
from sat_engine.components.trace import Call, Kind, Trace

FEWEST_LAYERS = 2  # a first and a last


def hierarchical(trace: Trace, stem: Stem | None) -> str | None:
    """Return whether the map of features shrinks on the way: its last quarter of layers sees at most half as much.

    Counted in positions (pixels or tokens) that come into normalisation layers after the stem; into convolutions where
    there are no such layers.
    """
    before = () if stem is None else stem.modules
    positions = [_positions(call) for call in trace.calls if not is_within_any(call.name, before)]
    positions = [count for count in positions if count]
    if len(positions) < FEWEST_LAYERS:
        convolutions = trace.of(Kind.CONVOLUTION)
        positions = [each.positions for each in convolutions if not is_within_any(each.module, before)]
    if len(positions) < FEWEST_LAYERS:
        return None
    quarter = max(1, len(positions) // 4)
    return YES if 2 * max(positions[-quarter:]) <= max(positions[:quarter]) else NO


def _positions(call: Call) -> int:
    if norm_of(call.module) is None:
        return 0
    first = next(call.module.parameters(), None)
    channels = 0 if first is None else first.numel()
    return call.elements // channels if channels else 0


def final_pooling(trace: Trace) -> str | None:
    """Return "GAP" (mean over positions), "CLS token", "No", or None where it is neither.

    Read backwards from the last matrix product or convolution, which makes the logits.
    """
    kinds = [operation.kind for operation in trace.operations]
    heads = [i for i, kind in enumerate(kinds) if kind in (Kind.MATRIX, Kind.CONVOLUTION)]
    if not heads:
        return None
    for operation in reversed(trace.operations[: heads[-1] + 1]):
        if operation.kind is Kind.MEAN:
            return "GAP"
        if operation.kind is Kind.CLS:
            return "CLS token"
        if operation.kind is Kind.ATTENTION:
            return None  # pooled by attention, or a token read in a way unknown to us
        if operation.kind is Kind.CONVOLUTION and operation.positions > 1:
            return NO
    return None
