"""Many small networks that differ: two that read digits, and disturbed copies of their weights."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import timm
import torch
from safetensors.numpy import load_file, save_file
from torch import Tensor, nn

from examples.digits.images import CLASSES, held_out, training
from examples.digits.zoo import Member, Recipe
from sat_engine.geometry import resize
from sat_engine.io.tensors import write_arrays

# of two input sizes, so that floors and ceilings are measured too
BASES = (
    Member(name="resnet", architecture="test_resnet", options={}, recipe=Recipe()),
    Member(name="nfnet", architecture="test_nfnet", options={}, input_side=24, recipe=Recipe()),
)
# of a tensor's own standard deviation: enough to change answers, not enough to lose them
DISTURBANCE = 0.05
RIDGE = 1e-3
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
            fit_head(member, path)
        trained[member.name] = load_file(path)
    random = np.random.default_rng(seed)
    return [_entry(folder, number, BASES[number % len(BASES)], trained, random) for number in range(n)]


def fit_head(member: Member, path: Path) -> None:
    """Write the member's weights: random features, and a head that ridge regression fits to the training digits.

    Takes a second, where training takes half a minute on a busy machine, and reads most digits.
    """
    torch.manual_seed(member.seed)
    network: nn.Module = timm.create_model(member.architecture, **member.model_args)
    squares, labels = training()
    pixels = torch.from_numpy(resize(squares, member.input_side)).permute(0, 3, 1, 2).float().div(255)
    seen = (pixels - torch.tensor(member.mean).view(1, -1, 1, 1)) / torch.tensor(member.std).view(1, -1, 1, 1)
    with torch.no_grad():
        _set_statistics(network, seen)
        features = network.forward_head(network.forward_features(seen), pre_logits=True)
        head = network.get_classifier()
        weight, bias = _ridge(features, torch.from_numpy(labels))
        head.weight.copy_(weight)
        head.bias.copy_(bias)
    # copied in C order, counters of no dimension as they are
    save_file({name: tensor.numpy().copy(order="C") for name, tensor in network.state_dict().items()}, path)


def _set_statistics(network: nn.Module, images: Tensor) -> None:
    """Let the normalisations see the images once."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None  # the plain average
    network.train()
    network(images)
    network.eval()


def _ridge(features: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Weights (classes, d) and biases (classes,) that separate the classes in the least squares."""
    mean, scale = features.mean(dim=0), features.std()
    centred = ((features - mean) / scale).double()
    wanted = nn.functional.one_hot(labels).double() - 1 / len(CLASSES)
    gram = centred.T @ centred + RIDGE * len(features) * torch.eye(centred.shape[1], dtype=torch.float64)
    weight = (10 * torch.linalg.solve(gram, centred.T @ wanted)).T.float() / scale
    return weight, -weight @ mean


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
