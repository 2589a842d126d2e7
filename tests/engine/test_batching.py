"""What does not fit into memory is done in smaller pieces, and stays so."""

import weakref
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from sat_engine import measure
from sat_engine.batching import Batch, is_memory_error
from sat_engine.classifier import Classifier
from sat_engine.components.trace import trace
from sat_engine.errors import NotComputableError


class Small(nn.Module):
    """A network on a device that holds so many images, fewer with gradients; it notes the batches it was given."""

    def __init__(self, forward_room: int, gradient_room: int, error: type[Exception] = RuntimeError) -> None:
        super().__init__()
        self.rooms, self.error, self.seen = (forward_room, gradient_room), error, []
        torch.manual_seed(0)
        self.layer = nn.Linear(16, 2)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (n, 2), or fail as torch does."""
        room = self.rooms[images.requires_grad]
        if len(images) > room:
            raise self.error("CUDA out of memory. Tried to allocate 2.00 GiB")
        self.seen.append((images.requires_grad, len(images)))
        logits: Tensor = self.layer(images.flatten(1))
        return logits


def classifier_of(network: nn.Module) -> Classifier:
    """A classifier of grey images of 4 x 4 pixels."""
    return Classifier(network, input_side=4, image_channels=1, channels=1, mean=(0.5,), std=(0.5,), class_map=(0, 1))


@pytest.fixture
def images() -> np.ndarray:
    """150 random images: two chunks and a part."""
    return np.random.default_rng(0).integers(0, 256, (150, 4, 4, 1), np.uint8)


@pytest.mark.parametrize("error", [RuntimeError, torch.OutOfMemoryError, MemoryError])
def test_the_batch_is_halved_until_it_fits_and_remembered(images: np.ndarray, error: Any, quick: Any) -> None:
    small, large = classifier_of(Small(20, 5, error)), classifier_of(Small(1000, 1000))
    logits = measure.evaluate(small, images)
    assert "batch=16 " in small.numeric_path
    assert np.allclose(logits, measure.evaluate(large, images), atol=1e-5)
    labels = logits.argmax(axis=1)
    everything = np.ones(150, np.bool_)
    made = measure.attack(small, images, labels, everything, quick)
    # gradients need more memory; what measures the bits stays as it was
    assert "batch=16/4 " in small.numeric_path
    expected = measure.attack(large, images, labels, everything, quick)
    assert (made.fooled != expected.fooled).sum() <= 1
    small.network.seen.clear()
    measure.evaluate(small, images)
    assert {size for _, size in small.network.seen} == {16, 6}


def test_a_result_has_one_path_though_memory_ran_out_in_the_middle(images: np.ndarray) -> None:
    network = Small(64, 64)
    classifier = classifier_of(network)
    measure.evaluate(classifier, images[:64])
    network.rooms = (40, 40)
    network.seen.clear()
    measure.evaluate(classifier, images)
    assert [size for _, size in network.seen] == [32, 32, 32, 32, 22]


def test_one_image_too_many_is_refused_in_a_sentence(images: np.ndarray) -> None:
    with pytest.raises(NotComputableError, match="a worker with more memory"):
        measure.evaluate(classifier_of(Small(0, 0)), images)


class Broken(nn.Module):
    """A network that fails for a reason of its own."""

    def forward(self, images: Tensor) -> Tensor:
        """Multiply what cannot be multiplied."""
        return images.flatten(1) @ images.flatten(1)


def test_other_errors_pass(images: np.ndarray) -> None:
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        measure.evaluate(classifier_of(Broken()), images)


def test_the_cpu_allocators_own_error_is_a_memory_error() -> None:
    with pytest.raises(RuntimeError) as raised:
        torch.empty(2**50, dtype=torch.uint8)
    assert is_memory_error(raised.value)


def test_where_a_batch_begins() -> None:
    assert Batch.default(torch.device("cpu")).describe() == "batch=64"
    assert Batch.default(torch.device("cuda")).describe() == "batch=256"


@pytest.mark.parametrize(
    ("error", "of_memory"),
    [
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), True),
        (RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"), True),
        (RuntimeError("std::bad_alloc"), True),
        (RuntimeError("could not create a primitive"), True),
        (MemoryError(), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_EXECUTION_FAILED"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_what_libraries_say_when_memory_is_short(error: Exception, of_memory: bool) -> None:  # noqa: FBT001  # a column
    assert is_memory_error(error) is of_memory


class Hoarding(Small):
    """A network whose failing forward holds a large tensor."""

    def forward(self, images: Tensor) -> Tensor:
        """Return logits, or fail with the tensor alive."""
        held = torch.zeros(1000)
        self.held = weakref.ref(held)
        return super().forward(images) + held[0]


def test_memory_is_given_back_after_the_tensors_that_did_not_fit_are_gone(
    images: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = Hoarding(32, 32)
    gone = []
    monkeypatch.setattr(measure, "give_back_memory", lambda _: gone.append(network.held() is None))
    measure.evaluate(classifier_of(network), images[:64])
    assert gone == [True]


class Huge(nn.Module):
    """A network that no memory holds, even with one image."""

    def __init__(self, num_classes: int = 2, in_chans: int = 1) -> None:
        super().__init__()
        self.layer = nn.Linear(in_chans * 16, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Ask for more than there is."""
        torch.empty(2**46)
        logits: Tensor = self.layer(images.flatten(1))
        return logits


def test_a_network_that_is_too_large_to_be_looked_at_is_refused_in_the_same_sentence() -> None:
    with pytest.raises(NotComputableError, match="a worker with more memory"):
        trace(Huge(), input_side=4, channels=1)
