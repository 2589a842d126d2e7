"""The SAT matrix of some networks on some images, without a registry.

    python -m examples.matrix resnet18.a1_in1k vit_tiny_patch16_224.augreg_in21k_ft_in1k --images photos/
    python -m examples.matrix --digits      # offline: small networks, trained for seconds, on digits

The folder holds folders of images that are called as the networks' classes are, ImageNet's n01440764 …, some or all of
them. Where a network's classes have no known names, there is one for each, and sorting them gives the classes' order.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.progress import Progress

from sat_engine import pretrained, read_folder, sat_matrix
from sat_engine.classifier import Classifier
from sat_engine.measure import Images, Integers
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
        images, labels, _ = read_folder(options.images, SIDE, classes=classifiers[options.names[0]].class_names)
    else:
        parser.error("give names of networks and --images, or --digits")
    with Progress() as bar:
        task = bar.add_task("measuring", total=1.0)
        matrix = sat_matrix(classifiers, images, labels, progress=lambda share: bar.update(task, completed=share))
    print(matrix.table())
    return 0


def small_networks() -> tuple[Mapping[str, Classifier], Images, Integers]:
    """Return three networks that have just learnt to read digits, 64 other digits, and what they are."""
    from examples.digits.calibrate import load
    from examples.digits.fit import fit
    from examples.digits.images import held_out
    from examples.digits.zoo import Member, Recipe

    classifiers = {}
    with TemporaryDirectory() as folder:
        for name in SMALL:
            member = Member(name=name, architecture=name, options={}, recipe=Recipe(epochs=4))
            fit(member, member.path(Path(folder)))
            classifiers[name] = load(member, member.path(Path(folder)))
    images, labels = held_out()
    return classifiers, images[:64], labels[:64]


if __name__ == "__main__":
    sys.exit(main())
