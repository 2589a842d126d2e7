"""Many small networks that differ: two that were trained on digits, and disturbed copies of their weights."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file

from examples.digits.fit import fit
from examples.digits.images import CLASSES, held_out
from examples.digits.zoo import Member, Recipe
from sat_engine.io.tensors import write_arrays

QUICK = Recipe(epochs=4)
# of two input sizes, so that floors and ceilings are measured too
BASES = (
    Member(name="resnet", architecture="test_resnet", options={}, recipe=QUICK),
    Member(name="nfnet", architecture="test_nfnet", options={}, input_side=24, recipe=QUICK),
)
# of a tensor's own standard deviation: enough to change answers, not enough to lose them
DISTURBANCE = 0.05
N_ATTACK, N_SELECT, N_REPORT, PREFIX = 48, 8, 8, 32
PROTOCOL: Mapping[str, object] = {"name": "quick", "epsilon": "16/255", "step_size": "4/255", "steps": 4}


@dataclass(frozen=True, slots=True)
class Entry:
    """A model to be registered."""

    name: str
    metadata: Mapping[str, object]
    checkpoint: Path


def make_zoo(folder: Path, n: int, seed: int) -> list[Entry]:
    """N different networks below the folder; the same seed gives the same."""
    trained = {}
    for member in BASES:
        path = folder / f"{member.name}.safetensors"
        if not path.exists():
            fit(member, path)
        trained[member.name] = load_file(path)
    random = np.random.default_rng(seed)
    return [_entry(folder, number, BASES[number % len(BASES)], trained, random) for number in range(n)]


def _entry(
    folder: Path,
    number: int,
    base: Member,
    trained: Mapping[str, Mapping[str, np.ndarray]],
    random: np.random.Generator,
) -> Entry:
    member = replace(base, name=f"{base.name}-{number}")
    path = folder / f"{member.name}.safetensors"
    save_file({name: _disturbed(tensor, random) for name, tensor in trained[base.name].items()}, path)
    return Entry(member.name, member.metadata(), path)


def _disturbed(tensor: np.ndarray, random: np.random.Generator) -> np.ndarray:
    if tensor.dtype != np.float32 or tensor.ndim < 2:
        return tensor
    noise = random.standard_normal(tensor.shape, dtype=np.float32)
    disturbed: np.ndarray = tensor + np.float32(DISTURBANCE * tensor.std()) * noise
    return disturbed


def image_set(path: Path) -> dict[str, object]:
    """Write the image set's content to path; return its metadata."""
    images, labels = held_out()
    n = N_ATTACK + N_SELECT + N_REPORT
    write_arrays(path, {"images": images[:n], "labels": labels[:n]})
    return {
        "name": "digits",
        "classes": list(CLASSES),
        "parts": {"attack": N_ATTACK, "select": N_SELECT, "report": N_REPORT},
        "prefix": PREFIX,
    }
