"""`python -m tests.faults.poison`: models that ruin whoever touches them end failed, with a reason; others go on.

An operator's package brings architectures that crash the process, never return, hold the interpreter, or ask for more
memory than there is, as long as a file exists; one of them fits when batches are small, and is measured. Weights that
give NaN need no package. Then the cause goes away, and `retry` measures them like any other. Ends with status 1 when
anything is otherwise.
"""

import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file, save_file

from client.errors import ConflictError
from client.registry import Registry
from tests.faults.baseline import COMPARISON
from tests.faults.stack import Stack
from tests.faults.zoo import PROTOCOL, Entry, image_set, make_zoo

# the plug-in; evaluation runs batches, preparation a single image
MODULE = """
import ctypes
import os
import time
from pathlib import Path

import torch
from torch import nn

CAUSE = Path(os.environ["POISON"])


class Network(nn.Module):
    def __init__(self, num_classes, in_chans=1):
        super().__init__()
        self.head = nn.Linear(in_chans * 64, num_classes)

    def forward(self, images):
        if len(images) > 1 and CAUSE.exists():
            self.ruin(images)
        return self.head(nn.functional.adaptive_avg_pool2d(images, 8).flatten(1))


class Crash(Network):
    def ruin(self, images):
        ctypes.string_at(0)


class Endless(Network):
    def ruin(self, images):
        while True:
            time.sleep(0.01)


class Hold(Network):
    def ruin(self, images):
        ctypes.PyDLL(None).sleep(3600)  # a PyDLL call keeps the interpreter to itself


class Tight(Network):
    def ruin(self, images):
        torch.empty(len(images) * 2**46)  # one image fits


class Hog(Network):
    def forward(self, images):
        if os.environ["SAT_LANES"] == "compute" and CAUSE.exists():
            torch.empty(2**46)
        return super().forward(images)

    def ruin(self, images):
        pass
"""
ARCHITECTURES = ("crash", "endless", "hold", "hog", "tight")
# what the reason must say
REASONS = {
    "crash": "died 5 times",
    "endless": "took longer than 30 seconds (SAT_JOB_SECONDS) (after 3 attempts)",
    "hold": "died 5 times",
    "hog": "does not fit into this device's memory with a single image",
    "nan": "not finite",
}
CURABLE = ("crash", "endless", "hold", "hog")
# a worker's first job loads torch, which takes long on a busy machine
JOB_SECONDS, LEASE_SECONDS, PATIENCE_SECONDS = 30, 2.0, 600.0


def install(site: Path) -> None:
    """Put the plug-in into a folder as pip would."""
    (site / "poison.py").write_text(MODULE)
    described = site / "poison-1.dist-info"
    described.mkdir()
    (described / "METADATA").write_text("Metadata-Version: 2.1\nName: poison\nVersion: 1\n")
    lines = "\n".join(f"poison-{name} = poison:{name.title()}" for name in ARCHITECTURES)
    (described / "entry_points.txt").write_text(f"[sat.architectures]\n{lines}\n")


def poisons(folder: Path, sound: Entry) -> list[Entry]:
    """One model of each kind: the plug-in's with random weights, and one whose weights give NaN."""
    random = np.random.default_rng(0)
    entries = []
    for name in ARCHITECTURES:
        path = folder / f"{name}.safetensors"
        weight = random.standard_normal((10, 64), dtype=np.float32)
        save_file({"head.weight": weight, "head.bias": np.zeros(10, np.float32)}, path)
        metadata = {
            "name": name,
            "architecture": f"poison-{name}",
            "model_args": {"num_classes": 10, "in_chans": 1},
            "input": {"size": 32, "channels": 1, "mean": [0.3], "std": [0.38]},
            "classes": list("0123456789"),
        }
        entries.append(Entry(name, metadata, path))
    path = folder / "nan.safetensors"
    tensors = load_file(sound.checkpoint)
    save_file({name: np.float32(1e30) * each if each.ndim > 1 else each for name, each in tensors.items()}, path)
    return [*entries, Entry("nan", dict(sound.metadata) | {"name": "nan"}, path)]


def run(folder: Path, say: Callable[[str], None]) -> dict[str, Any]:
    """Register two sound models among the poisonous ones; return what became of each, and what is wrong with that."""
    site, cause = folder / "site", folder / "cause"
    site.mkdir(parents=True)
    install(site)
    cause.touch()
    sound = make_zoo(_made(folder / "zoo"), 2, seed=0)
    bad = poisons(folder, sound[0])
    settings = {"PYTHONPATH": str(site), "POISON": str(cause), "SAT_JOB_SECONDS": str(JOB_SECONDS)}
    with Stack(folder / "stack", compute_workers=2, lease_seconds=LEASE_SECONDS, settings=settings) as stack:
        stack.start_programs()
        with Registry(stack.url) as registry:
            content = folder / "digits.safetensors"
            registry.create_image_set(image_set(content), content)
            registry.create_protocol(PROTOCOL)
            registry.compare(str(COMPARISON["image_set"]), str(COMPARISON["protocol"]), state="measuring")
            for entry in (sound[0], *bad, sound[1]):
                registry.register(entry.metadata, entry.checkpoint)
            began = time.monotonic()
            measured = _wait(lambda: _whole(registry, [*(entry.name for entry in sound), "tight"]))
            say(f"{time.monotonic() - began:6.1f} s  the sound models are measured")
            reasons = _wait_for_reasons(registry, say, began)
            cause.unlink()
            revived = _retry(registry, REASONS, say, began)
    wrong = [f"{name}: {reasons.get(name)!r}" for name, said in REASONS.items() if said not in reasons.get(name, "")]
    wrong += [f"{name} is not measured after its retry" for name in CURABLE if name not in revived]
    if not measured:
        wrong.append("the sound models, and the one that fits with small batches, were held back")
    if "nan" in revived:
        wrong.append("NaN weights were measured")
    return {"reasons": reasons, "revived": sorted(revived), "wrong": wrong}


def _wait_for_reasons(registry: Registry, say: Callable[[str], None], began: float) -> dict[str, str]:
    """The reason of each poisonous model, as it comes."""
    reasons: dict[str, str] = {}

    def all_failed() -> bool:
        for name in REASONS:
            reason = _reason(registry.model(name))
            if reason and name not in reasons:
                reasons[name] = reason
                say(f"{time.monotonic() - began:6.1f} s  {name}: {reason}")
        return len(reasons) == len(REASONS)

    _wait(all_failed)
    return reasons


def _reason(model: Mapping[str, Any]) -> str | None:
    if model["state"] != "failed":
        return None
    return str(model.get("failure") or model.get("reason") or model)


def _retry(registry: Registry, names: Iterable[str], say: Callable[[str], None], began: float) -> set[str]:
    """Try the failed ones again, now that the cause is gone; return those that end measured."""
    retried = list(names)
    for name in retried:
        try:
            registry.retry(name)
        except ConflictError as error:
            say(f"{name} cannot be retried: {error}")
    alive = [name for name in retried if name != "nan"]
    _wait(lambda: _whole(registry, alive) and registry.model("nan")["state"] == "failed")
    revived = {name for name in retried if registry.model(name)["state"] in ("ready", "suspect")}
    say(f"{time.monotonic() - began:6.1f} s  after retry: {', '.join(sorted(revived))}")
    return {name for name in revived if _whole(registry, [name])}


def _whole(registry: Registry, names: Sequence[str]) -> bool:
    """Whether each is evaluated, and measured with each other on both rungs."""
    if any(registry.model(name)["state"] not in ("ready", "suspect") for name in names):
        return False
    pairs = [(one, other) for one in names for other in names if one < other]
    try:
        return all(registry.pair(*pair).get("rung") == 1 for pair in pairs)
    except ConflictError:  # one of them has failed meanwhile
        return False


def _wait(condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.5)
    return True


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def main() -> int:
    """Run in a temporary folder; 1 when something is wrong."""
    with tempfile.TemporaryDirectory(prefix="sat-poison-", ignore_cleanup_errors=True) as name:
        summary = run(Path(name), lambda line: print(line, flush=True))  # noqa: T201  this is a command
    print(json.dumps(summary, indent=2))  # noqa: T201  as above
    return 1 if summary["wrong"] else 0


if __name__ == "__main__":
    sys.exit(main())
