"""Measure the zoo: the figures of docs/zoo.md, and whether EPSILON and the members are well chosen.

`python -m examples.digits.calibrate [folder]` trains what is missing below folder and prints Markdown.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import combinations
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file

from examples.digits import images
from examples.digits.train import train_zoo
from examples.digits.zoo import MEMBERS, PROTOCOL, Member
from sat_engine import measure
from sat_engine.catalogue import find
from sat_engine.networks import Classifier, NetworkSpec, build
from sat_engine.precision import Precision
from sat_engine.protocol import Protocol
from sat_engine.scores import count_pair, score

LEAST_ACCURACY = 0.95
LEAST_SELF_FOOLING = 0.95
MOST_NOISE = 0.10
LEVELS = range(8, 17, 2)  # radii tried, in levels of a uint8 pixel
FEW = 200  # images a radius is tried on


@dataclass(frozen=True, kw_only=True)
class Measured:
    """A member with its clean bits (n,) and its attack at EPSILON on the held-out images."""

    member: Member
    classifier: Classifier
    correct: NDArray[np.bool_]
    attack: measure.AttackResult

    @property
    def accuracy(self) -> float:
        """The share of held-out images that it classifies correctly."""
        return float(self.correct.mean())

    @property
    def self_fooling(self) -> float:
        """The share of its correct images on which its own attack fools it."""
        return float(self.attack.fooled[self.correct].mean())

    @property
    def noise_rate(self) -> float:
        """The share of its correct images on which a random corner of the ball fools it."""
        return float(self.attack.noise_fooled[self.correct].mean())


def load(member: Member, checkpoint: Path, precision: Precision = Precision.FLOAT32) -> Classifier:
    """Return the trained member as the registry's workers build it."""
    spec = NetworkSpec(
        architecture=member.architecture,
        model_args=member.model_args,
        input_side=member.input_side,
        channels=member.channels,
        mean=member.mean,
        std=member.std,
        class_map=tuple(range(len(images.CLASSES))),
    )
    return build(spec, load_file(checkpoint), image_channels=images.CHANNELS, precision=precision)


def attacked(member: Member, classifier: Classifier, protocol: Protocol, n: int = images.HELD_OUT) -> Measured:
    """Return the member measured on the first n held-out images."""
    squares, labels = images.held_out()
    correct = measure.correct(measure.evaluate(classifier, squares[:n]), labels[:n])
    attack = measure.attack(classifier, squares[:n], labels[:n], correct, protocol)
    return Measured(member=member, classifier=classifier, correct=correct, attack=attack)


def passes(measured: Measured) -> bool:
    """Return whether a member may stay in the zoo."""
    return (
        measured.accuracy >= LEAST_ACCURACY
        and measured.self_fooling >= LEAST_SELF_FOOLING
        and measured.noise_rate <= MOST_NOISE
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the figures as Markdown; return 0 where all members pass, else 1."""
    parser = argparse.ArgumentParser(prog="python -m examples.digits.calibrate", description=__doc__)
    parser.add_argument("folder", type=Path, help="where checkpoints are kept, and looked for")
    parser.add_argument("--sweep", action="store_true", help="try other radii as well: five minutes more")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    seconds: dict[str, float] = {}
    checkpoints = train_zoo(options.folder, lambda trained: seconds.update({trained.name: trained.seconds}))
    classifiers = {member.name: load(member, checkpoints[member.name]) for member in MEMBERS}
    protocol = Protocol.from_parameters(PROTOCOL)
    zoo = [attacked(member, classifiers[member.name], protocol) for member in MEMBERS]
    print_members(zoo, seconds)
    print_pairs(zoo)
    if options.sweep:
        print_sweep(classifiers, protocol)
    return 0 if all(passes(each) for each in zoo) else 1


def print_members(zoo: Sequence[Measured], seconds: Mapping[str, float]) -> None:
    """Print a row a member, with what decides whether it stays."""
    print_row("member", "architecture", "base", "input", "trained", "accuracy", "self-fooling", "noise rate", "")
    print_row(*["---"] * 9)
    for each in zoo:
        member = each.member
        print_row(
            member.name,
            member.architecture,
            str(find(member.architecture).base),
            f"{member.channels} x {member.input_side}",
            f"{seconds[member.name]:.0f} s" if seconds[member.name] else "before",
            f"{each.accuracy:.1%}",
            f"{each.self_fooling:.1%}",
            f"{each.noise_rate:.1%}",
            "passes" if passes(each) else "**fails**",
        )


def print_pairs(zoo: Sequence[Measured]) -> None:
    """Print the zoo's SAT scores, and the means of the pairs that the paper's Table 2 sets side by side."""
    sat: dict[frozenset[str], float] = {}
    by_kind: dict[str, list[float]] = {}
    for one, other in combinations(zoo, 2):
        found = pair_score(one, other)
        sat[frozenset((one.member.name, other.member.name))] = found
        by_kind.setdefault(kind_of_pair(one.member, other.member), []).append(found)
    names = [each.member.name for each in zoo]
    print_row("", *names)
    print_row(*["---"] * (len(names) + 1))
    for name in names:
        print_row(name, *("" if name == other else f"{sat[frozenset((name, other))]:.2f}" for other in names))
    for kind, scores in by_kind.items():
        print(f"\n{kind}: mean SAT {np.mean(scores):.2f} over {len(scores)} pairs")


def pair_score(a: Measured, b: Measured) -> float:
    """Return the pair's SAT on the held-out images."""
    labels = images.held_out()[1]
    common = a.correct & b.correct
    fooled_b, fooled_a = (
        measure.transfer(target.classifier, source.attack.images, source.attack.positions, labels, common)
        for source, target in ((a, b), (b, a))
    )
    return score(count_pair(a.correct, b.correct, fooled_b, fooled_a)).sat


def kind_of_pair(a: Member, b: Member) -> str:
    """Return how two members are related by what they are built from."""
    if (a.architecture, a.model_args, a.input_side) == (b.architecture, b.model_args, b.input_side):
        return "Same architecture, other seed"
    same_base = find(a.architecture).base == find(b.architecture).base
    return "Other architecture, same base" if same_base else "Other base"


def print_sweep(classifiers: Mapping[str, Classifier], protocol: Protocol) -> None:
    """Print self-fooling and noise rate of every member at other radii, on the first images."""
    print_row("member", *(f"{level}/255" for level in LEVELS))
    print_row(*["---"] * (len(LEVELS) + 1))
    for member in MEMBERS:
        at = (replace(protocol, epsilon=Fraction(level, 255)) for level in LEVELS)
        tried = [attacked(member, classifiers[member.name], each, FEW) for each in at]
        print_row(member.name, *(f"{each.self_fooling:.1%} / {each.noise_rate:.1%}" for each in tried))


def print_row(*cells: str) -> None:
    """Print one row of a Markdown table."""
    print("|", " | ".join(cells), "|", flush=True)


if __name__ == "__main__":
    sys.exit(main())
