"""Checkpoints as torch tensors: safetensors in, safetensors out."""

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from sat_engine.errors import CheckpointError
from sat_engine.io.tensors import read_header


def read_weights(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a safetensors file; CheckpointError where it is unsound."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    read_header(path)
    try:
        return load_file(path)
    except SafetensorError as error:
        raise CheckpointError(f"the safetensors file cannot be read: {error}") from error


def write_weights(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write tensors as one safetensors file, in order of their names: equal tensors give equal bytes."""
    from safetensors.torch import save_file

    save_file({name: tensors[name].contiguous() for name in sorted(tensors)}, path)
