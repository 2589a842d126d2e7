"""Measure the zoo with every attack, and write how far the attacks agree: the table of docs/agreement.md.

`python -m examples.digits.agreement [--folder DIR] [--images N] [--write docs/agreement.md]` trains what is missing
of the zoo below the folder (the demo's, if none is given).
"""

import argparse
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import combinations
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from client.address import home
from examples.digits import images
from examples.digits.calibrate import load
from examples.digits.train import train_zoo
from examples.digits.zoo import EPSILON, MEMBERS, PROTOCOL
from sat_engine import agreement, measure
from sat_engine.attack_kinds import KINDS
from sat_engine.classifier import Classifier
from sat_engine.errors import NotComputableError
from sat_engine.protocol import PRESETS, Protocol
from sat_engine.scores import count_pair, score

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]
BASELINE = "pgd"
COLUMNS = (
    "protocol",
    "Spearman",
    "95 %",
    "p",
    "mean SAT less `pgd`'s",
    "networks",
    "pairs",
    "self-fooling",
    "least",
    "gradients",
    "time",
)
COMMAND = "OMP_NUM_THREADS=1 python -m examples.digits.agreement --write docs/agreement.md"


@dataclass(frozen=True, kw_only=True)
class Member:
    """A network of the zoo with its clean bits (n,)."""

    name: str
    classifier: Classifier
    correct: Bools


@dataclass(frozen=True, kw_only=True)
class Result:
    """The zoo measured by one protocol: SAT (m, m), self-fooling of the attacked members, seconds of each attack.

    refusals: the members that could not be attacked, with the reason. SAT is one-sided where one of two was refused.
    """

    protocol: Protocol
    sat: Floats
    self_fooling: Mapping[str, float]
    seconds: float
    refusals: Mapping[str, str]


def protocols() -> dict[str, Protocol]:
    """Return the presets with the zoo's radius: those within a radius get it, their steps grown in proportion."""
    grown = {
        name: replace(preset, epsilon=EPSILON, step_size=preset.step_size * EPSILON / preset.epsilon)
        for name, preset in PRESETS.items()
        if preset.epsilon < Fraction(1)
    }
    return {**PRESETS, **grown, BASELINE: Protocol.from_parameters(PROTOCOL)}


def measured(zoo: Sequence[Member], squares: measure.Images, labels: images.Labels, protocol: Protocol) -> Result:
    """Return the zoo's scores on the images (n, s, s, c) by a protocol; seconds count the attacks alone."""
    attacks: dict[str, measure.AttackResult] = {}
    refusals: dict[str, str] = {}
    started = time.perf_counter()
    for member in zoo:
        try:
            attacks[member.name] = measure.attack(member.classifier, squares, labels, member.correct, protocol)
        except NotComputableError as error:
            refusals[member.name] = str(error)
    seconds = time.perf_counter() - started
    sat = np.full((len(zoo), len(zoo)), np.nan)
    for i, j in combinations(range(len(zoo)), 2):
        a, b = zoo[i], zoo[j]
        there, back = (_fooled(attacks, *pair, labels) for pair in ((a, b), (b, a)))
        if there is not None or back is not None:
            sat[i, j] = sat[j, i] = score(count_pair(a.correct, b.correct, there, back)).sat
    fooling = {each.name: float(attacks[each.name].fooled[each.correct].mean()) for each in zoo if each.name in attacks}
    return Result(
        protocol=protocol, sat=sat, self_fooling=fooling, seconds=seconds / max(1, len(attacks)), refusals=refusals
    )


def _fooled(
    attacks: Mapping[str, measure.AttackResult], source: Member, target: Member, labels: images.Labels
) -> Bools | None:
    made = attacks.get(source.name)
    if made is None:
        return None
    common = source.correct & target.correct
    return measure.transfer(target.classifier, made.images, made.positions, labels, common)


def page(results: Mapping[str, Result], n: int) -> Iterator[str]:
    """Yield the lines of the page, in Markdown."""
    yield "# How far the attacks agree"
    yield ""
    yield f"SAT between the digits zoo's {len(MEMBERS)} networks by every attack that can be run, on the first {n} of"
    yield "the 800 held-out digits, in float32 on one thread of a CPU. The radius is the zoo's own"
    yield f"({EPSILON}, except `patch-fool`, which is published without one); steps are those of the presets, grown in"
    yield f"proportion to it, but `{BASELINE}` is the demo's protocol. Made by"
    yield ""
    yield f"    {COMMAND}" + (f" --images {n}" if n != images.HELD_OUT else "")
    yield ""
    yield "*Spearman*: of SAT over the pairs that both measured, against `pgd`, with its 95 % interval from resampling"
    yield "models ([how](attacks.md#agreement)). *p*: Mantel's test. *Self-fooling*: the share of a network's own"
    yield "images that fool it, mean and least over the networks. *Time*: seconds an attack on one network takes."
    yield ""
    yield f"| {' | '.join(COLUMNS)} |"
    yield f"| {' | '.join(['---'] * len(COLUMNS))} |"
    for name, result in results.items():
        yield _row(name, result, results[BASELINE])
    yield ""
    for name, result in results.items():
        if result.refusals:
            yield f"`{name}` attacks {len(result.self_fooling)} of the {len(MEMBERS)}. Its scores with the others are"
            yield f"one-sided, and pairs of these have none: {', '.join(result.refusals)}."
            yield ""
    for attack, kind in KINDS.items():
        if kind.unavailable:
            yield f"`{attack}` is not here: {kind.unavailable}."


def _row(name: str, result: Result, baseline: Result) -> str:
    found = agreement.compare(baseline.sat, result.sat)
    fooling = list(result.self_fooling.values())
    bounds = (
        f"{found.interval.low:.2f} … {found.interval.high:.2f}" if found.interval and result is not baseline else ""
    )
    cells = [
        f"`{name}`",
        "-" if found.spearman is None else f"{found.spearman:.2f}",
        bounds,
        "" if found.p_value is None or result is baseline else f"{found.p_value:.3f}",
        "" if result is baseline else f"{found.mean_difference:+.2f}",
        str(found.models),
        str(found.pairs),
        f"{np.mean(fooling):.1%}",
        f"{min(fooling):.1%}",
        str(result.protocol.gradients),
        f"{result.seconds:.1f} s",
    ]
    return f"| {' | '.join(cells)} |"


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the page, or write it where asked to; return 0."""
    parser = argparse.ArgumentParser(prog="python -m examples.digits.agreement", description=__doc__)
    parser.add_argument("--folder", type=Path, help="where checkpoints are kept, and looked for")
    parser.add_argument("--images", type=int, default=images.HELD_OUT, help="how many of the held-out digits")
    parser.add_argument("--write", type=Path, help="a file for the page")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    checkpoints = train_zoo(options.folder or home() / "zoo")
    squares, labels = images.held_out()
    squares, labels = squares[: options.images], labels[: options.images]
    zoo = []
    for member in MEMBERS:
        classifier = load(member, checkpoints[member.name])
        correct = measure.correct(measure.evaluate(classifier, squares), labels)
        zoo.append(Member(name=member.name, classifier=classifier, correct=correct))
    results = {}
    for name, protocol in protocols().items():
        results[name] = measured(zoo, squares, labels, protocol)
        print(f"{name}: {results[name].seconds:.1f} s a network", file=sys.stderr)
    text = "\n".join(page(results, options.images)).rstrip() + "\n"
    if options.write:
        options.write.write_text(text, encoding="utf-8")
    else:
        print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
