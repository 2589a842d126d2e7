"""Real, really small networks, trained on scikit-learn's digits within seconds."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional

from sat_engine import geometry, measure, networks
from sat_engine.classifier import Classifier
from sat_engine.ordering import order
from sat_engine.protocol import Protocol

SIDE = 32
HELD_OUT = 230  # images: four chunks of 64, the last one not full
MEAN, STD = 0.3, 0.35


@dataclass(frozen=True)
class Digits:
    """Scans of handwritten digits, uint8 (n, 32, 32, 1), in a fixed order."""

    train_images: NDArray[np.uint8]
    train_labels: NDArray[np.int64]
    images: NDArray[np.uint8]
    labels: NDArray[np.int64]


@dataclass(frozen=True)
class Trained:
    """A trained network: its spec, its checkpoint's file and tensors, its classifier and its clean bits."""

    spec: networks.NetworkSpec
    path: Path
    tensors: Mapping[str, Tensor]
    classifier: Classifier
    correct: NDArray[np.bool_]


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    # two processes of two threads on two cores run some thirty times slower than with one each
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def digits() -> Digits:
    """1,000 images to train on, 230 to measure on."""
    scans = load_digits()
    images = geometry.resize(np.round(scans.images * 255 / 16).astype(np.uint8)[..., None], SIDE)
    shuffled = order(len(images), 0)
    train, held_out = shuffled[:1000], shuffled[1000 : 1000 + HELD_OUT]
    return Digits(images[train], scans.target[train], images[held_out], scans.target[held_out])


@pytest.fixture(scope="session")
def zoo(digits: Digits, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Trained]:
    """Three networks that classify digits: two of one input size, one of another."""
    folder = tmp_path_factory.mktemp("checkpoints")
    architectures = {
        "byobnet": ("test_byobnet", 32),
        "efficientnet": ("test_efficientnet", 32),
        "nfnet": ("test_nfnet", 24),
    }
    return {
        name: _train(_spec_of(architecture, side=side), digits, folder / f"{name}.safetensors")
        for name, (architecture, side) in architectures.items()
    }


@pytest.fixture(scope="session")
def quick() -> Protocol:
    """The default attack with fewer steps and a ball so large that some images transfer."""
    return Protocol(attack="pgd", epsilon=Fraction(40, 255), step_size=Fraction(10, 255), steps=8)


@pytest.fixture(scope="session")
def results(zoo: dict[str, Trained], digits: Digits, quick: Protocol) -> dict[str, measure.AttackResult]:
    """Every network of the zoo attacked with the quick protocol."""
    return {
        name: measure.attack(trained.classifier, digits.images, digits.labels, trained.correct, quick)
        for name, trained in zoo.items()
    }


@pytest.fixture
def exactly_resized() -> Callable[[NDArray[Any], int], NDArray[Any]]:
    """Resizing images (n, s, s, c) to (n, side, side, c) in float64, written out and not rounded."""
    return _exactly_resized


def _spec_of(
    architecture: str, *, side: int = SIDE, channels: int = 1, classes: int = 10, **model_args: object
) -> networks.NetworkSpec:
    """A spec of an architecture for digits."""
    return networks.NetworkSpec(
        architecture=architecture,
        model_args={"num_classes": classes, **model_args},
        input_side=side,
        channels=channels,
        mean=(MEAN,) * channels,
        std=(STD,) * channels,
        class_map=tuple(range(classes)),
    )


def _train(spec: networks.NetworkSpec, digits: Digits, path: Path) -> Trained:
    module = networks.create_module(spec.architecture, spec.model_args, spec.input_side, spec.channels)
    _fit(module, geometry.resize(digits.train_images, spec.input_side), digits.train_labels)
    save_file({name: tensor.contiguous() for name, tensor in module.state_dict().items()}, path)
    tensors = load_file(path)
    classifier = networks.build(spec, tensors, image_channels=1)
    correct = measure.correct(measure.evaluate(classifier, digits.images), digits.labels)
    assert correct.mean() > 0.85, f"{spec.architecture} has learnt too little to test with: {correct.mean():.0%}"
    return Trained(spec, path, tensors, classifier, correct)


def _fit(module: nn.Module, images: NDArray[np.uint8], labels: NDArray[np.int64], epochs: int = 5) -> None:
    pixels = (torch.from_numpy(images).permute(0, 3, 1, 2) / 255 - MEAN) / STD
    targets = torch.from_numpy(labels)
    generator = torch.Generator().manual_seed(0)
    optimizer = torch.optim.AdamW(module.parameters(), lr=4e-3)
    batches = epochs * -(-len(pixels) // 50)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, total_steps=batches)
    module.train().to(memory_format=torch.channels_last)
    for _ in range(epochs):
        for batch in torch.randperm(len(pixels), generator=generator).split(50):
            optimizer.zero_grad()
            functional.cross_entropy(module(pixels[batch]), targets[batch]).backward()
            optimizer.step()
            schedule.step()
    module.eval()


def _triangle_weights(source: int, side: int) -> NDArray[Any]:
    """Return the (side, source) float64 weights of antialiased bilinear interpolation, written out."""
    scale = source / side
    support = max(scale, 1.0)
    weights = np.zeros((side, source))
    for row in range(side):
        centre = (row + 0.5) * scale
        for column in range(source):
            weights[row, column] = max(0.0, 1 - abs(column + 0.5 - centre) / support)
    return weights / weights.sum(axis=1, keepdims=True)


def _exactly_resized(images: NDArray[Any], side: int) -> NDArray[Any]:
    """Return float64 images (n, side, side, c), not rounded."""
    weights = _triangle_weights(images.shape[1], side)
    return np.einsum("iy,jx,nyxc->nijc", weights, weights, images.astype(np.float64))
