"""How far scores from a prefix of the images are from those of the whole set, on the zoo.

`python -m examples.digits.ladder FOLDER` trains what is missing of the zoo below FOLDER and prints Markdown. Beside
what is measured stands what drawing that many of the same images by chance gives: the fixed prefix is one such draw.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from examples.digits import images
from examples.digits.calibrate import load
from examples.digits.train import train_zoo
from examples.digits.zoo import MEMBERS, PROTOCOL
from sat_engine.matrix import SatMatrix, assemble, sat_matrix
from sat_engine.protocol import Protocol

WHOLE = 500
PREFIXES = (50, 100, 150, 250)
DRAWS = 20
Floats = NDArray[np.float64]


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m examples.digits.ladder", description=__doc__)
    parser.add_argument("folder", type=Path, help="where checkpoints are kept, and looked for")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    checkpoints = train_zoo(options.folder, lambda _: None)
    classifiers = {member.name: load(member, checkpoints[member.name]) for member in MEMBERS}
    squares, labels = images.held_out()
    whole = sat_matrix(classifiers, squares[:WHOLE], labels[:WHOLE], Protocol.from_parameters(PROTOCOL))
    rng = np.random.default_rng(0)
    print(
        "| images | SAT: mean error | 95 % of pairs within | Pearson | inside interval | drawn by chance: mean error |"
    )
    print("| --- | --- | --- | --- | --- | --- |")
    for prefix in PREFIXES:
        drawn = [np.nanmean(errors(whole, rng.choice(WHOLE, prefix, replace=False))) for _ in range(DRAWS)]
        print(row(whole, prefix, float(np.mean(drawn))))
    return 0


def at(whole: SatMatrix, chosen: NDArray[np.integer]) -> SatMatrix:
    """Return the matrix from some of its images."""
    return assemble(whole.names, whole.correct[:, chosen], whole.fooled[:, :, chosen])


def errors(whole: SatMatrix, chosen: NDArray[np.integer]) -> Floats:
    """Return |SAT from the chosen images - SAT from all| of every pair."""
    upper = np.triu_indices(len(whole.names), 1)
    found: Floats = np.abs(at(whole, chosen).sat - whole.sat)[upper]
    return found


def row(whole: SatMatrix, prefix: int, by_chance: float) -> str:
    """Return the table's row of one prefix."""
    part = at(whole, np.arange(prefix))
    wrong = errors(whole, np.arange(prefix))
    upper = np.triu_indices(len(whole.names), 1)
    scored = np.isfinite(part.sat[upper]) & np.isfinite(whole.sat[upper])
    pearson = np.corrcoef(part.sat[upper][scored], whole.sat[upper][scored])[0, 1]
    covered = [part.scores[pair].interval for pair in part.scores]
    truth = [whole.scores[pair].sat for pair in part.scores]
    inside = np.mean([low <= sat <= high for (low, high), sat in zip(covered, truth, strict=True)])
    return (
        f"| {prefix} | {np.nanmean(wrong):.3f} | {np.nanquantile(wrong, 0.95):.3f} | "
        f"{pearson:.3f} | {inside:.0%} | {by_chance:.3f} |"
    )


if __name__ == "__main__":
    sys.exit(main())
