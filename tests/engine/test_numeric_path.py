"""A numeric path says on what its bits were computed, and two are compared by what both say."""

from typing import Any

import pytest
import torch

from sat_engine import numeric_path
from sat_engine.batching import Batch
from sat_engine.numeric_path import batch_of, hardware_of, same_forward, same_hardware, threads_of

CPU = torch.device("cpu")
GPU = torch.device("cuda:0")
OLD = "float32 folded channels_last batch=256 torch=2.14 cuda"
A100, H100 = (f"{OLD} gpu=NVIDIA-{name} timm=1.0.31" for name in ("A100", "H100"))


def test_the_hardware_the_threads_and_the_releases_are_in_the_path(zoo: Any) -> None:
    path = zoo["byobnet"].classifier.numeric_path
    assert path.endswith(f" {hardware_of(CPU)}")
    capability = torch.backends.cpu.get_cpu_capability()
    assert f" cpu capability={capability} threads={torch.get_num_threads()} timm=" in path
    assert threads_of(path) == torch.get_num_threads()


def test_a_gpu_is_named_in_one_word(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "NVIDIA H100 80GB HBM3")
    assert hardware_of(GPU).startswith("cuda gpu=NVIDIA-H100-80GB-HBM3 timm=")
    assert threads_of(hardware_of(GPU)) is None


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (A100, A100, True),
        (A100, H100, False),
        (OLD, H100, True),  # an older release did not say which GPU
        (A100, A100.replace("batch=256", "batch=256/128"), True),
        (A100, A100.replace("batch=256", "batch=128"), False),
        (A100, A100.replace("float32", "bfloat16"), False),
        (A100, A100.replace("timm=1.0.31", "timm=1.0.32"), False),
        (OLD, OLD.replace("cuda", "cpu"), False),
        (OLD, OLD.replace("folded ", ""), False),
        ("another", OLD, False),
    ],
)
def test_paths_that_compute_logits_alike(one: str, other: str, same: bool) -> None:  # noqa: FBT001  # a column
    assert same_forward(one, other) is same
    assert same_forward(other, one) is same


def test_a_device_like_the_recorded_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(numeric_path, "hardware_of", lambda _: "cuda gpu=NVIDIA-H100 timm=2")
    assert same_hardware(H100, GPU)
    assert same_hardware(OLD, GPU)
    assert not same_hardware(A100, GPU)
    assert not same_hardware("float32 cpu capability=AVX2 threads=2", GPU)


def test_the_batch_is_read_back_from_a_path() -> None:
    assert batch_of(A100) == (256, 256)
    assert batch_of("float32 batch=64/16 cpu") == (64, 16)
    assert batch_of("float32 cpu") is batch_of("batch=0") is batch_of("batch=x/2") is None
    assert Batch.recorded("float32 batch=64/16 cpu", CPU) == Batch(64, 64, 16)
    assert Batch.recorded(OLD, CPU) == Batch.default(CPU), "a chunk is the device's"
    assert Batch.recorded("", GPU) == Batch.default(GPU)
    assert Batch.recorded("batch=64 cuda", GPU).describe() == "batch=64"
