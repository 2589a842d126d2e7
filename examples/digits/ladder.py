"""How far scores from a prefix of the images are from those of the whole set, on the zoo.

`python -m examples.digits.ladder FOLDER` trains what is missing of the zoo below FOLDER and prints Markdown. A prefix
is compared with the whole set, which holds it, as a score on rung 0 with the later one; and with the rest, which does
not: two samples of one truth. Beside them stands what drawing as many of all images by chance gives against the whole.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
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

PREFIXES = (50, 100, 150, 250, 500)
DRAWS = 20
COLUMNS = (
    "images",
    "error against the whole, mean",
    "95 % within",
    "Pearson",
    "drawn by chance: mean error",
    "error against the rest, mean",
    "95 % within",
    "Pearson",
    "pairs that differ",
)
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
    whole = sat_matrix(classifiers, squares, labels, Protocol.from_parameters(PROTOCOL))
    print(f"{len(whole.scores)} pairs, {len(labels)} images\n")
    print("\n".join(table(whole)))
    return 0


def table(whole: SatMatrix) -> Iterator[str]:
    """Yield the table's lines."""
    yield f"| {' | '.join(COLUMNS)} |"
    yield f"| {' | '.join(['---'] * len(COLUMNS))} |"
    n, rng = whole.correct.shape[1], np.random.default_rng(0)
    for prefix in PREFIXES:
        part, rest = at(whole, np.arange(prefix)), at(whole, np.arange(prefix, n))
        drawn = [np.nanmean(errors(at(whole, rng.choice(n, prefix, replace=False)), whole)) for _ in range(DRAWS)]
        cells = [*against(part, whole), f"{np.mean(drawn):.3f}", *against(part, rest), f"{apart(part, rest):.0%}"]
        yield f"| {prefix} | {' | '.join(cells)} |"


def at(whole: SatMatrix, chosen: NDArray[np.integer]) -> SatMatrix:
    """Return the matrix from some of its images."""
    return assemble(whole.names, whole.correct[:, chosen], whole.fooled[:, :, chosen])


def errors(part: SatMatrix, other: SatMatrix) -> Floats:
    """Return |SAT of the one - SAT of the other| of every pair (pairs,)."""
    upper = np.triu_indices(len(part.names), 1)
    found: Floats = np.abs(part.sat - other.sat)[upper]
    return found


def against(part: SatMatrix, other: SatMatrix) -> tuple[str, str, str]:
    """Return the mean error, what 95 % of the pairs are within, and Pearson's correlation over the pairs."""
    wrong = errors(part, other)
    upper = np.triu_indices(len(part.names), 1)
    one, two = part.sat[upper], other.sat[upper]
    scored = np.isfinite(one) & np.isfinite(two)
    pearson = np.corrcoef(one[scored], two[scored])[0, 1]
    return f"{np.nanmean(wrong):.3f}", f"{np.nanquantile(wrong, 0.95):.3f}", f"{pearson:.3f}"


def apart(part: SatMatrix, rest: SatMatrix) -> float:
    """Return the share of pairs whose difference of rates, prefix less rest, is significant: chance gives some 5 %.

    Newcombe's interval of a difference (1998), from the two scores' own intervals.
    """
    outside = 0
    pairs = [pair for pair in part.scores if pair in rest.scores]
    for pair in pairs:
        one, two = part.scores[pair], rest.scores[pair]
        (one_low, one_high), (two_low, two_high) = one.percent_interval, two.percent_interval
        difference = one.percent - two.percent
        low = difference - np.hypot(one.percent - one_low, two_high - two.percent)
        high = difference + np.hypot(one_high - one.percent, two.percent - two_low)
        outside += not low <= 0 <= high
    return outside / len(pairs)


if __name__ == "__main__":
    sys.exit(main())
