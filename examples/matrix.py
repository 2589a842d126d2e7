"""The SAT matrix of some networks on some images, without a registry.

    python -m examples.matrix resnet18.a1_in1k vit_tiny_patch16_224.augreg_in21k_ft_in1k --images photos/
    python -m examples.matrix --digits      # offline: small networks of random weights on handwritten digits

The folder holds one folder of images for each of the networks' classes, named so that sorting gives the classes' order.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.progress import Progress

from sat_engine import NetworkSpec, build, pretrained, read_folder, sat_matrix
from sat_engine.classifier import Classifier
from sat_engine.measure import Images, Integers, correct, evaluate
from sat_engine.memory import keep_freed_memory

SIDE = 256
SMALL = ("test_resnet", "test_efficientnet", "test_byobnet")


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the matrix."""
    parser = argparse.ArgumentParser(prog="python -m examples.matrix", description=__doc__)
    parser.add_argument("names", nargs="*", help="timm's pretrained networks, architecture.tag")
    parser.add_argument("--images", type=Path, help="a folder of class folders")
    parser.add_argument("--digits", action="store_true", help="a small example that needs no network connection")
    options = parser.parse_args(arguments)
    keep_freed_memory()
    if options.digits:
        classifiers, images, labels = small_networks()
    elif options.names and options.images:
        classifiers = {name: pretrained(name) for name in options.names}
        images, labels, _ = read_folder(options.images, SIDE)
    else:
        parser.error("give names of networks and --images, or --digits")
    with Progress() as bar:
        task = bar.add_task("measuring", total=1.0)
        matrix = sat_matrix(classifiers, images, labels, progress=lambda share: bar.update(task, completed=share))
    print(matrix.table())
    return 0


def small_networks() -> tuple[Mapping[str, Classifier], Images, Integers]:
    """Return networks of random weights, and digits labelled by the first of them: what it says is right."""
    import numpy as np

    from examples.digits.images import held_out
    from sat_engine.networks import create_module

    images = held_out()[0][:64]
    classifiers = {}
    for name in SMALL:
        spec = NetworkSpec(
            architecture=name,
            model_args={"num_classes": 3},
            input_side=32,
            channels=1,
            mean=(0.3,),
            std=(0.38,),
            class_map=(0, 1, 2),
        )
        module = create_module(name, spec.model_args, spec.input_side, spec.channels)
        classifiers[name] = build(spec, module.state_dict(), image_channels=1)
    labels = evaluate(classifiers[SMALL[0]], images).argmax(axis=1).astype(np.int64)
    assert correct(evaluate(classifiers[SMALL[0]], images), labels).all()
    return classifiers, images, labels


if __name__ == "__main__":
    sys.exit(main())
