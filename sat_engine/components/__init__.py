"""The paper's 13 architecture components, read off a built network.

They are the columns of the feature table that Hwang et al. explain SAT with ("Similarity of Neural Architectures
using Adversarial Attack Transferability"), in its vocabulary. Base architecture is the catalogue's; everything else is
seen in one forward pass. What cannot be told is None. docs/zoo.md lists where this reading and the published
table differ.
"""

from dataclasses import dataclass

from torch import nn

from sat_engine.catalogue import CatalogueEntry, find
from sat_engine.components import layers, layout
from sat_engine.components.stem import find_stem, notation
from sat_engine.components.trace import Kind, Trace, trace
from sat_engine.errors import ArchitectureError

__all__ = ["COMPONENTS", "Anatomy", "read_anatomy"]

COMPONENTS: tuple[str, ...] = (
    "Base architecture",
    "Hierarchical structure",
    "Stem layer",
    "Input resolution",
    "Normalization",
    "Activation",
    "Pooling (stem)",
    "Pooling (final)",
    "2D SA",
    "CW attention",
    "Location of CW attention",
    "DW conv",
    "Group conv",
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Anatomy:
    """What a network is made of; None where it cannot be told.

    components has the 13 keys of COMPONENTS. macs are multiply-accumulates of one image.
    """

    components: dict[str, str | None]
    base: str | None
    family: str | None
    parameters: int
    macs: int


def read_anatomy(module: nn.Module, architecture: str, *, input_side: int, channels: int) -> Anatomy:
    """Return the anatomy of a built network, on whatever device it is; one forward pass of one image.

    architecture is its catalogue name. Raises ArchitectureError where the network cannot take such an image.
    """
    seen = trace(module, input_side=input_side, channels=channels)
    stem = find_stem(module, seen)
    entry = _find(architecture)
    base = entry.base if entry is not None and not entry.installed else _base_of(seen)
    values = (
        base,
        layout.hierarchical(seen, stem),
        None if stem is None else notation(stem, input_side=input_side),
        f"{input_side} x {input_side}",
        layers.normalization(seen),
        layers.activation(seen),
        None if stem is None else layers.yes(stem.pools),
        layout.final_pooling(seen),
        layers.plane_attention(seen),
        layers.channel_attention(seen),
        layers.location_of_channel_attention(seen),
        layers.depthwise_convolution(seen),
        layers.group_convolution(seen),
    )
    return Anatomy(
        components=dict(zip(COMPONENTS, values, strict=True)),
        base=base,
        family=None if entry is None else entry.family,
        parameters=sum(parameter.numel() for parameter in module.parameters()),
        macs=seen.macs,
    )


def _find(architecture: str) -> CatalogueEntry | None:
    try:
        return find(architecture)
    except ArchitectureError:
        return None


def _base_of(seen: Trace) -> str | None:
    """Return the base of a network outside the catalogue where its operations leave no doubt, else None."""
    spatial = [each for each in seen.of(Kind.CONVOLUTION) if max(each.kernel) > 1]
    if seen.of(Kind.ATTENTION):
        # one convolution makes patches; more of them, and it may be a hybrid, or a CNN with some attention
        return "Transformer" if len(spatial) <= 1 else None
    return "CNN" if len(spatial) > 1 else None
