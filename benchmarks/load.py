"""Loading a network: ours (meta device, safetensors, assign) against create_model and torch.load.

Ours folds batch norms and gives layers faster kernels besides. The first load in a process runs the network to learn
what later ones then know; a worker loads a network for each of its jobs.
"""

import statistics
import tempfile
from functools import partial
from pathlib import Path

import printing
import timm
import torch
from torch import nn

from sat_engine.io.weights import read_weights, write_weights
from sat_engine.networks import Classifier, NetworkSpec, build
from sat_engine.plan import Plan

NETWORKS = ("resnet50", "vit_small_patch16_224", "swin_tiny_patch4_window7_224")
SIDE = 224


def main() -> None:
    """Print the figures."""
    options = printing.options(__doc__)
    names, rounds = (NETWORKS[:1], 2) if options.quick else (NETWORKS, options.rounds or 5)
    printing.say("load", machine=printing.machine(), rounds=rounds)
    with tempfile.TemporaryDirectory() as folder:
        rows = [measure(name, Path(folder), rounds) for name in names]
    head = ("network", "create_model + torch.load", "ours, first", "ours, later", "first: times as fast", "later")
    printing.table(head, rows)


def measure(name: str, folder: Path, rounds: int) -> list[str]:
    """Return the table's row of one network."""
    tensors = timm.create_model(name).state_dict()
    pickled, safe = folder / f"{name}.pth", folder / f"{name}.safetensors"
    torch.save(tensors, pickled)
    write_weights(safe, tensors)
    spec = NetworkSpec(
        architecture=name,
        model_args={"num_classes": 1000},
        input_side=SIDE,
        channels=3,
        mean=(0.5,) * 3,
        std=(0.25,) * 3,
        class_map=tuple(range(1000)),
    )
    ways = {
        "usual": partial(usual, name, pickled),
        "first": partial(ours, spec, safe),
        "later": partial(ours, spec, safe, ours(spec, safe).plan),
    }
    seconds = printing.interleaved({way: partial(printing.timed, each) for way, each in ways.items()}, rounds)
    printing.say("load", network=name, seconds=seconds)
    middle = {way: statistics.median(each) for way, each in seconds.items()}
    gains = [printing.spread(printing.ratio(seconds, "usual", way)) for way in ("first", "later")]
    return [name, *(f"{middle[way]:.3f} s" for way in ways), *gains]


def usual(name: str, path: Path) -> nn.Module:
    """Load as most scripts do."""
    network = timm.create_model(name)
    network.load_state_dict(torch.load(path, weights_only=True))
    return network.eval()


def ours(spec: NetworkSpec, path: Path, plan: Plan | None = None) -> Classifier:
    """Load as a worker does, the first time or with what that left."""
    return build(spec, read_weights(path), image_channels=3, plan=plan)


if __name__ == "__main__":
    main()
