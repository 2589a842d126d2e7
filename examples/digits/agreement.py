"""Measure the zoo with every attack, and write how far the attacks agree: the table of docs/agreement.md.

`python -m examples.digits.agreement [--folder DIR] [--images N] [--write docs/agreement.md]` trains what is missing
of the zoo below the folder (the demo's, if none is given), and two more vision transformers, for Patch-Fool.
"""

import argparse
import sys
import time
from collections.abc import Container, Iterator, Mapping, Sequence
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
from examples.digits.train import train_members
from examples.digits.zoo import EPSILON, MEMBERS, PROTOCOL, Member
from sat_engine import agreement, measure
from sat_engine.attack_kinds import KINDS, Attack
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


_VIT = next(member for member in MEMBERS if member.name == "vit-a")
# Patch-Fool attacks three of the zoo, and four are needed: vit-a from two more seeds, for that attack alone.
FURTHER = tuple(replace(_VIT, name=f"vit-{letter}", seed=seed) for letter, seed in (("c", 2), ("d", 3)))


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """A network with its clean bits (n,)."""

    name: str
    classifier: Classifier
    correct: Bools


@dataclass(frozen=True, kw_only=True)
class Result:
    """Networks measured by one protocol: SAT (m, m) of the pairs that are measured both ways, NaN for others.

    self_fooling: of those that could be attacked. seconds: of processor time, a network. refusals: those that could
    not, with the reason.
    """

    protocol: Protocol
    names: tuple[str, ...]
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


def measured(networks: Sequence[Loaded], squares: measure.Images, labels: images.Labels, protocol: Protocol) -> Result:
    """Return the networks' scores on the images (n, s, s, c) by a protocol; seconds count the attacks alone."""
    attacks: dict[str, measure.AttackResult] = {}
    refusals: dict[str, str] = {}
    started = time.process_time()
    for each in networks:
        try:
            attacks[each.name] = measure.attack(each.classifier, squares, labels, each.correct, protocol)
        except NotComputableError as error:
            refusals[each.name] = str(error)
    seconds = time.process_time() - started
    sat = np.full((len(networks), len(networks)), np.nan)
    for i, j in combinations(range(len(networks)), 2):
        a, b = networks[i], networks[j]
        if a.name in attacks and b.name in attacks:
            there, back = _fooled(attacks[a.name], a, b, labels), _fooled(attacks[b.name], b, a, labels)
            sat[i, j] = sat[j, i] = score(count_pair(a.correct, b.correct, there, back)).sat
    attacked = [each for each in networks if each.name in attacks]
    return Result(
        protocol=protocol,
        names=tuple(each.name for each in networks),
        sat=sat,
        self_fooling={each.name: float(attacks[each.name].fooled[each.correct].mean()) for each in attacked},
        seconds=seconds / max(1, len(attacks)),
        refusals=refusals,
    )


def _fooled(made: measure.AttackResult, source: Loaded, target: Loaded, labels: images.Labels) -> Bools:
    return measure.transfer(target.classifier, made.images, made.positions, labels, source.correct & target.correct)


def page(results: Mapping[str, Result], n: int) -> Iterator[str]:
    """Yield the lines of the page, in Markdown."""
    yield "# How far the attacks agree"
    yield ""
    yield f"SAT between the digits zoo's {len(MEMBERS)} networks by every attack that can be run, on the first {n} of"
    yield f"the {images.HELD_OUT} held-out digits, in float32 on one thread of a CPU. The radius is the zoo's own"
    yield f"({EPSILON}, except `patch-fool`, which is published without one); steps are those of the presets, grown in"
    yield f"proportion to it, but `{BASELINE}` is the demo's protocol. Made by"
    yield ""
    yield f"    {COMMAND}" + (f" --images {n}" if n != images.HELD_OUT else "")
    yield ""
    yield "*Spearman*: of SAT against `pgd`, over the pairs that both measured in both directions, with its 95 %"
    yield "interval from resampling models ([how](attacks.md#agreement)): the rule of `GET /agreement`. *p*: Mantel's"
    yield "test. *Self-fooling*: the share of a network's own images that fool it, mean and least over the networks."
    yield "*Time*: seconds of a processor an attack on one network takes."
    yield ""
    yield f"| {' | '.join(COLUMNS)} |"
    yield f"| {' | '.join(['---'] * len(COLUMNS))} |"
    baseline = results[BASELINE]
    of_zoo = {**results, BASELINE: _without(baseline, {each.name for each in FURTHER})}
    for name, result in of_zoo.items():
        yield _row(name, result, baseline)
    yield ""
    for name, result in results.items():
        if result.refusals:
            yield from _refused(name, result)
            yield ""
    for attack, kind in KINDS.items():
        if kind.unavailable:
            yield f"`{attack}` is not here: {kind.unavailable}."


def _without(result: Result, names: Container[str]) -> Result:
    """Return the result without the networks of these names."""
    places = [place for place, name in enumerate(result.names) if name not in names]
    kept = tuple(result.names[place] for place in places)
    fooling = {name: share for name, share in result.self_fooling.items() if name in kept}
    return replace(result, names=kept, sat=result.sat[np.ix_(places, places)], self_fooling=fooling)


def _refused(name: str, result: Result) -> Iterator[str]:
    """Yield what a reader has to know of the networks that could not be attacked."""
    yield f"`{name}` can attack {len(result.self_fooling)} of {len(result.names)} networks. Pairs with the others have"
    yield f"scores of one direction or none, which agreement leaves out: {', '.join(result.refusals)}."
    further = [each.name for each in FURTHER if each.name in result.self_fooling]
    if further:
        yield f"Those that it can: {', '.join(result.self_fooling)}; of them {' and '.join(further)} are {_VIT.name}"
        yield f"trained from other seeds, and measured by `{name}` and `{BASELINE}` alone."


def _row(name: str, result: Result, baseline: Result) -> str:
    places = [baseline.names.index(each) for each in result.names]
    fooling = list(result.self_fooling.values())
    try:
        found = agreement.compare(baseline.sat[np.ix_(places, places)], result.sat)
    except NotComputableError as error:
        compared = [str(error), *[""] * 5]
    else:
        compared = _compared(found, itself=name == BASELINE)
    cells = [
        f"`{name}`",
        *compared,
        f"{np.mean(fooling):.1%}" if fooling else "-",
        f"{min(fooling):.1%}" if fooling else "-",
        str(result.protocol.gradients),
        f"{result.seconds:.1f} s",
    ]
    return f"| {' | '.join(cells)} |"


def _compared(found: agreement.Agreement, *, itself: bool) -> list[str]:
    interval = f"{found.interval.low:.2f} … {found.interval.high:.2f}" if found.interval else "-"
    return [
        "-" if found.spearman is None else f"{found.spearman:.2f}",
        "" if itself else interval,
        "" if found.p_value is None or itself else f"{found.p_value:.3f}",
        "" if itself else f"{found.mean_difference:+.2f}",
        str(found.models),
        str(found.pairs),
    ]


def further_of(name: str, protocol: Protocol) -> tuple[Member, ...]:
    """Return the networks beside the zoo that a protocol is measured on."""
    return FURTHER if name == BASELINE or KINDS[Attack(protocol.attack)].needs_patches else ()


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the page, or write it where asked to; return 0."""
    parser = argparse.ArgumentParser(prog="python -m examples.digits.agreement", description=__doc__)
    parser.add_argument("--folder", type=Path, help="where checkpoints are kept, and looked for")
    parser.add_argument("--images", type=int, default=images.HELD_OUT, help="how many of the held-out digits")
    parser.add_argument("--write", type=Path, help="a file for the page")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    checkpoints = train_members(options.folder or home() / "zoo", (*MEMBERS, *FURTHER))
    squares, labels = images.held_out()
    squares, labels = squares[: options.images], labels[: options.images]
    networks = []
    for member in (*MEMBERS, *FURTHER):
        classifier = load(member, checkpoints[member.name])
        correct = measure.correct(measure.evaluate(classifier, squares), labels)
        networks.append(Loaded(name=member.name, classifier=classifier, correct=correct))
    results = {}
    for name, protocol in protocols().items():
        measures = networks[: len(MEMBERS) + len(further_of(name, protocol))]
        results[name] = measured(measures, squares, labels, protocol)
        print(f"{name}: {results[name].seconds:.1f} s a network", file=sys.stderr)
    text = "\n".join(page(results, options.images)).rstrip() + "\n"
    if options.write:
        options.write.write_text(text, encoding="utf-8")
    else:
        print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
