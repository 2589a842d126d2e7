"""Which architectures there are: timm's, from a data file, and those an operator has installed.

Loads neither torch nor timm. The data file is made by `python -m sat_engine.catalogue_build`. An installed package
adds architectures by entry points of the group `sat.architectures`; only their names are read here, and a worker
loads the object behind one when it builds the network.
"""

import difflib
import gzip
import json
from dataclasses import dataclass
from functools import cache
from importlib.metadata import entry_points
from importlib.resources import files

from sat_engine.errors import ArchitectureError

ENTRY_POINT_GROUP = "sat.architectures"
FILE = "catalogue.json.gz"
NEAR = 5  # names suggested in place of an unknown one


@dataclass(frozen=True, kw_only=True, slots=True)
class CatalogueEntry:
    """What is known of an architecture before it is built; None where it is not.

    family: timm's lineage, such as resnet or swin. base: the paper's base architecture (CNN, Transformer, MLP-Mixer,
    Hybrid, NAS (CNN), NAS (TFM)). input_side (pixels), mean, std (of a [0, 1] pixel) and num_classes are those of
    the default weights, parameters those of the architecture with its 1,000 or so default classes.
    """

    name: str
    family: str
    base: str | None = None
    input_side: int | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    parameters: int | None = None
    num_classes: int | None = None
    pretrained_tags: tuple[str, ...] = ()
    installed: bool = False  # by an operator; else timm's


def find(name: str) -> CatalogueEntry:
    """Return what is known of the architecture; ArchitectureError, naming near matches, where there is none."""
    if name in _installed():
        return CatalogueEntry(name=name, family=name, installed=True)
    entry = _timm().get(name)
    if entry is None:
        raise ArchitectureError(_refusal(name))
    return entry


def names() -> tuple[str, ...]:
    """Return every architecture's name, sorted; about 1,400."""
    return tuple(sorted({*_timm(), *_installed()}))


def near_matches(name: str) -> list[str]:
    """Return up to five names like this one, the closest first."""
    # a long name is no typing error, and comparing it takes seconds
    return difflib.get_close_matches(name[:100].lower(), names(), n=NEAR)


def _refusal(name: str) -> str:
    shown = repr(name[:80])
    if ":" in name or "/" in name:
        return f"{shown} is no architecture of the catalogue: places such as hf-hub: and local-dir: are not opened"
    architecture, dot, tag = name.partition(".")
    if dot and architecture in _timm():
        return f"{shown} names weights: send {architecture!r} as architecture, and {tag[:80]!r} as pretrained"
    near = near_matches(name)
    hint = f"did you mean {', '.join(near)}?" if near else "timm's names are known, and those an operator has installed"
    return f"there is no architecture {shown}: {hint}"


@cache
def _installed() -> frozenset[str]:
    return frozenset(entry_points(group=ENTRY_POINT_GROUP).names)


@cache
def _timm() -> dict[str, CatalogueEntry]:
    packed = files("sat_engine").joinpath(FILE).read_bytes()
    content = json.loads(gzip.decompress(packed))
    return {name: _entry(name, fields) for name, fields in content["architectures"].items()}


def _entry(name: str, fields: dict[str, object]) -> CatalogueEntry:
    # JSON has lists only; the dataclass is hashable
    values = {key: tuple(value) if isinstance(value, list) else value for key, value in fields.items()}
    return CatalogueEntry(name=name, **values)  # type: ignore[arg-type]  # written by catalogue_build from this class
