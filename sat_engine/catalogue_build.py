"""Make the catalogue's data file from the timm that is installed: `python -m sat_engine.catalogue_build`."""

import gzip
import json
import sys
from pathlib import Path

import timm
import torch
from timm.models import get_pretrained_cfg, list_pretrained
from timm.models._registry import get_arch_name, model_entrypoint
from torch import nn

from sat_engine.catalogue import FILE
from sat_engine.lineages import lineage


def main() -> None:
    """Write the data file beside this one and say what is in it."""
    tags: dict[str, list[str]] = {}
    for full_name in list_pretrained():
        tags.setdefault(get_arch_name(full_name), []).append(full_name.partition(".")[2])
    architectures = {name: _describe(name, sorted(tags.get(name, []))) for name in timm.list_models()}
    content = json.dumps({"timm": timm.__version__, "architectures": architectures}, separators=(",", ":"))
    path = Path(__file__).with_name(FILE)
    # without a time stamp equal content gives equal bytes
    path.write_bytes(gzip.compress(content.encode(), mtime=0))
    unknown = [name for name, fields in architectures.items() if fields["base"] is None]
    print(f"{path}: {len(architectures)} architectures of timm {timm.__version__}; no base: {', '.join(unknown)}")  # noqa: T201  # a command's answer


def _describe(name: str, tags: list[str]) -> dict[str, object]:
    model_file = model_entrypoint(name).__module__.rpartition(".")[2]
    family, base = lineage(name, model_file)
    settings = get_pretrained_cfg(name)
    fields: dict[str, object] = {"family": family, "base": base}
    if settings is not None:
        fields |= {
            "input_side": settings.input_size[-1],
            "mean": settings.mean,
            "std": settings.std,
            "num_classes": settings.num_classes,
        }
    return {**fields, "parameters": _count_parameters(name), "pretrained_tags": tags}


def _count_parameters(name: str) -> int | None:
    try:
        with torch.device("meta"):
            network: nn.Module = timm.create_model(name)
    except Exception as error:  # noqa: BLE001  # some constructors compute with their tensors, which meta ones refuse
        print(f"{name}: parameters not counted: {error}"[:200], file=sys.stderr)  # noqa: T201  # a command's answer
        return None
    return sum(parameter.numel() for parameter in network.parameters())


if __name__ == "__main__":
    main()
