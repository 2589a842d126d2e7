"""Which of the zoo's networks pass the gate of bfloat16: the table of docs/performance.md.

`python -m examples.digits.precision [FOLDER]` trains what is missing of the zoo below the folder (the demo's, if none
is given) and prints Markdown. It takes a processor that multiplies bfloat16.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from client.address import home
from examples.digits import images
from examples.digits.calibrate import load
from examples.digits.train import train_zoo
from examples.digits.zoo import MEMBERS, PROTOCOL
from sat_engine.memory import keep_freed_memory
from sat_engine.parity import GATE_IMAGES, Parity, compare_paths
from sat_engine.precision import Precision
from sat_engine.protocol import Protocol


def row(name: str, found: Parity) -> str:
    """Return a network's row of the table."""
    worst = max(found.cells, key=lambda cell: abs(found.cells[cell]))
    verdict = "passes" if found.passes else "stays float32"
    return (
        f"| {name} | {found.n} | {found.clean_flips:.2%} | {found.net_change:+.2%} "
        f"| {found.cells[worst]:+.2%} ({worst}) | {verdict} |"
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table; return 0."""
    parser = argparse.ArgumentParser(prog="python -m examples.digits.precision", description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path, help="where checkpoints are kept, and looked for")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    keep_freed_memory()
    checkpoints = train_zoo(options.folder or home() / "zoo")
    squares, labels = images.held_out()
    squares, labels = squares[:GATE_IMAGES], labels[:GATE_IMAGES]
    protocol = Protocol.from_parameters(PROTOCOL)
    print("| network | images | clean bits flipped | net change | the cell that changes most | |")
    print("| --- | --- | --- | --- | --- | --- |")
    for member in MEMBERS:
        exact, fast = (
            load(member, checkpoints[member.name], precision=precision)
            for precision in (Precision.FLOAT32, Precision.BFLOAT16)
        )
        print(row(member.name, compare_paths(exact, fast, squares, labels, protocol)), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
