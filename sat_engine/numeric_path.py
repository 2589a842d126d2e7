"""Numeric paths: the text that says how a result's bits were computed, written and compared.

Words and named values, such as "float32 folded onednn channels_last batch=64/16 torch=2.14 cpu capability=AVX512
threads=2 timm=1.0.31". Older releases wrote fewer values; what a path does not say is not held against it.
"""

import re
from functools import cache
from importlib.metadata import version

import torch

_BATCH = "batch"


def hardware_of(device: torch.device) -> str:
    """Return what of a device and its libraries a bit may depend on, "cuda gpu=NVIDIA-H100 timm=1.0.31" on a GPU."""
    if device.type == "cuda":
        # a name must be one word
        kind = f"gpu={torch.cuda.get_device_name(device).replace(' ', '-')}"
    else:
        kind = f"capability={torch.backends.cpu.get_cpu_capability()} threads={torch.get_num_threads()}"
    return f"{device.type} {kind} timm={_timm()}"


def same_forward(one: str, other: str) -> bool:
    """Return whether two paths compute logits alike, as far as both say; the batch of gradients is nothing to it."""
    (words, values), (other_words, others) = _parts(forward_of(one)), _parts(forward_of(other))
    return words == other_words and _agree(values, others)


def forward_of(path: str) -> str:
    """Return a path without what only gradients depend on: "batch=64" for "batch=64/16"."""
    return re.sub(rf"\b({_BATCH}=\d+)/\d+", r"\1", path)


def same_hardware(path: str, device: torch.device) -> bool:
    """Return whether a path is of such a device, as far as it says; threads and releases are nothing to it."""
    words, values = _parts(path)
    _, here = _parts(hardware_of(device))
    return device.type in words and _agree(values, {name: here[name] for name in ("gpu", "capability") if name in here})


def batch_of(path: str) -> tuple[int, int] | None:
    """Return the images that a path's forwards, and its gradients, took at once; None where it says nothing of it."""
    forward, _, gradient = _parts(path)[1].get(_BATCH, "").partition("/")
    sizes = [text for text in (forward, gradient or forward) if text.isdecimal() and int(text) > 0]
    return (int(sizes[0]), int(sizes[1])) if len(sizes) == 2 else None  # noqa: PLR2004  # both of them


def threads_of(path: str) -> int | None:
    """Return how many threads a path was computed with; None where it says nothing of it, as on a GPU."""
    text = _parts(path)[1].get("threads", "")
    return int(text) if text.isdecimal() and int(text) > 0 else None


def _parts(path: str) -> tuple[list[str], dict[str, str]]:
    tokens = path.split()
    named = [token.partition("=") for token in tokens if "=" in token]
    return [token for token in tokens if "=" not in token], {name: value for name, _, value in named}


def _agree(one: dict[str, str], other: dict[str, str]) -> bool:
    return all(one[name] == other[name] for name in one.keys() & other.keys())


@cache
def _timm() -> str:
    return version("timm")
