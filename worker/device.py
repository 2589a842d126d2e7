"""Which device a worker process computes on: one process a GPU, chosen by lock, or the CPU."""

import fcntl
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from registry.workers import DeviceMemory


@dataclass(frozen=True, slots=True)
class Device:
    """A torch device and what people call it; `lock` keeps other processes of this machine off a GPU."""

    torch_name: str
    label: str
    lock: IO[str] | None = None


def choose_device(wanted: str) -> Device:
    """The device that `wanted` names (auto, cpu, cuda or cuda:N).

    `auto` takes the first GPU that no other worker holds, and the CPU where there is none.
    RuntimeError when a GPU was asked for by name and cannot be had.
    """
    import torch

    if wanted == "cpu" or (wanted == "auto" and not torch.cuda.is_available()):
        return Device("cpu", f"cpu ({torch.get_num_threads()} threads)")
    if not torch.cuda.is_available():
        raise RuntimeError(f"SAT_DEVICE is {wanted}, but torch sees no GPU: install a driver, or set SAT_DEVICE=cpu.")
    indices = [int(wanted.removeprefix("cuda:"))] if ":" in wanted else list(range(torch.cuda.device_count()))
    for index in indices:
        lock = _try_lock(index)
        if lock is not None:
            return Device(f"cuda:{index}", torch.cuda.get_device_name(index), lock)
    raise RuntimeError(
        f"every GPU of {wanted} is held by another worker: start one worker process a GPU, or set SAT_DEVICE=cpu."
    )


def memory_of(device: Device) -> DeviceMemory | None:
    """What the GPU holds, whoever uses it; None on a CPU."""
    if not device.torch_name.startswith("cuda"):
        return None
    import torch

    free, total = torch.cuda.mem_get_info(device.torch_name)
    return DeviceMemory(total=total, used=total - free)


def _try_lock(index: int) -> IO[str] | None:
    path = Path(tempfile.gettempdir()) / f"sat-registry-cuda-{index}.lock"
    try:
        file = path.open("w")
    except OSError:  # another user's
        return None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        return None
    return file
