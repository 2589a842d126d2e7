"""A recorded pair computed once more: its networks rebuilt from what their digests name, and attacked anew."""

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from math import isclose
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from worker.fetching import fetch_attack_part, fetch_classifier, fetch_protocol

if TYPE_CHECKING:
    from client.registry import Registry
    from sat_engine.measure import AttackResult, Bools, Images, Integers
    from sat_engine.networks import Classifier
    from sat_engine.protocol import Protocol

DIRECTIONS = (("a", "b"), ("b", "a"))


@dataclass(frozen=True, slots=True)
class Figure:
    """One number of the pair, as recorded and as computed here; rung is None where it is of all rungs."""

    rung: int | None
    name: str
    recorded: float
    recomputed: float

    @property
    def equal(self) -> bool:
        """Whether both are the same; shares and scores are computed from counts, and may be rounded otherwise."""
        return isclose(self.recorded, self.recomputed, rel_tol=1e-9, abs_tol=1e-12)


@dataclass(frozen=True, kw_only=True, slots=True)
class Recomputed:
    """All figures, and the numeric paths: those recorded for the cells and for the attacks, and those used here."""

    figures: tuple[Figure, ...]
    transfer_paths: frozenset[str]
    attack_paths: frozenset[str]
    paths: frozenset[str]

    @property
    def same_path(self) -> bool:
        """Whether all was computed here as it was recorded, hardware and threads included."""
        from sat_engine.numeric_path import forward_of

        return self.attack_paths <= self.paths and {forward_of(path) for path in self.transfer_paths} <= {
            forward_of(path) for path in self.paths
        }


@dataclass(slots=True)
class _Side:
    """One of the two networks on the rungs so far: bits (n,) by rung. Those of an attack are there where it is made."""

    classifier: "Classifier"
    correct: "dict[int, Bools]" = field(default_factory=dict)
    made: "dict[int, AttackResult]" = field(default_factory=dict)


@dataclass(slots=True)
class _Direction:
    """One direction's bits by rung; floor and ceiling where the input sizes are unequal."""

    fooled: "dict[int, Bools]" = field(default_factory=dict)
    floor: "dict[int, Bools]" = field(default_factory=dict)
    ceiling: "dict[int, Bools]" = field(default_factory=dict)


Way = tuple[str, str]


def recompute(
    registry: "Registry", pair: Any, folder: Path, *, device: str, tell: Callable[[str], object]
) -> Recomputed:
    """Measure a pair again, the directions and rungs that are recorded, downloading into the folder.

    ClientError where what the registry gives has another digest than is recorded, EngineError where it cannot be
    computed.
    """
    from sat_engine.precision import make_cublas_repeatable

    make_cublas_repeatable()
    protocol = fetch_protocol(registry, pair["protocol"])
    described = registry.image_set(pair["image_set"])
    squares, labels = fetch_attack_part(registry, described, folder)
    own = {side: _alone(registry, pair, side) for side in "ab"}
    attack_paths = {side: [each["numeric_path"] for each in own[side]["made_by"]] for side in "ab"}
    _use_recorded_threads([*attack_paths["a"], *attack_paths["b"]])
    sides = {
        side: _Side(
            fetch_classifier(
                registry, pair, side, described, folder,
                device=device, channels=squares.shape[3], like=attack_paths[side],
            )
        )
        for side in "ab"
    }  # fmt: skip
    ways = {way: _Direction() for way in DIRECTIONS}
    for recorded in pair["rungs"]:
        rung = recorded["rung"]
        chosen = slice(0, described["prefix"]) if rung == 0 else slice(described["prefix"], None)
        tell(f"Computing rung {rung}: {len(labels[chosen])} images, {protocol.gradients} gradients each …")
        _measure(sides, ways, recorded, squares[chosen], labels[chosen], protocol, chosen.start)
    return Recomputed(
        figures=tuple(_figures(pair, own, sides, ways)),
        transfer_paths=frozenset(each["numeric_path"] for each in pair["made_by"]),
        attack_paths=frozenset(path for way in DIRECTIONS if ways[way].fooled for path in attack_paths[way[0]]),
        paths=frozenset(each.classifier.numeric_path for each in sides.values()),
    )


def _alone(registry: "Registry", pair: Any, side: str) -> Any:
    """Return what is recorded of a network's own attack: its pair with itself."""
    name = f"@{pair['digests'][side]}"
    return registry.pair(name, name, image_set=pair["image_set"], protocol=pair["protocol"])


def _use_recorded_threads(paths: list[str]) -> None:
    """Let torch use as many threads as the results were computed with, where this machine has them."""
    import torch

    from sat_engine.numeric_path import threads_of

    threads = {found for path in paths if (found := threads_of(path))}
    if len(threads) == 1 and max(threads) <= (os.cpu_count() or 1):
        torch.set_num_threads(max(threads))


def _measure(  # noqa: PLR0917  # what a rung is
    sides: Mapping[str, _Side],
    ways: Mapping[Way, _Direction],
    recorded: Any,
    squares: "Images",
    labels: "Integers",
    protocol: "Protocol",
    first: int,
) -> None:
    """Add one rung's bits to the sides and ways; a side is attacked only where its outgoing direction is recorded."""
    from sat_engine import measure

    rung = recorded["rung"]
    for side in sides.values():
        side.correct[rung] = measure.correct(measure.evaluate(side.classifier, squares), labels)
    for way, found in ways.items():
        if recorded[f"{way[0]}_fools_{way[1]}"] is None:
            continue
        source, target = sides[way[0]], sides[way[1]]
        correct = source.correct[rung]
        made = measure.attack(source.classifier, squares, labels, correct, protocol, positions_from=first)
        source.made[rung] = made
        common, onto = correct & target.correct[rung], target.classifier
        found.fooled[rung] = measure.transfer(onto, made.images, made.positions, labels, common)
        if source.classifier.input_side != onto.input_side:
            found.floor[rung] = measure.floor(onto, squares, labels, common, source_side=source.classifier.input_side)
            found.ceiling[rung] = measure.ceiling(
                source.classifier, made.images, made.positions, labels, target_side=onto.input_side
            )


def _figures(
    pair: Any, own: Mapping[str, Any], sides: Mapping[str, _Side], ways: Mapping[Way, _Direction]
) -> Iterator[Figure]:
    found = {(each.rung, each.name): each for each in _counts(pair, own, sides, ways)}
    yield from found.values()
    yield from _score(pair, found)
    for (source, target), way in ways.items():
        if not way.fooled:
            continue
        controls = pair["controls"][f"{source}_to_{target}"]
        common = {rung: sides[source].correct[rung] & sides[target].correct[rung] for rung in way.fooled}
        noise = {rung: made.noise_fooled & common[rung] for rung, made in sides[target].made.items() if rung in common}
        for name, bits, of in (
            ("floor", way.floor, common),
            ("ceiling", way.ceiling, {rung: sides[source].correct[rung] for rung in way.fooled}),
            ("noise", noise, common),
        ):
            n = sum(int(each.sum()) for each in of.values())
            if controls[name] is not None and n and bits.keys() == of.keys():
                rate = sum(int(each.sum()) for each in bits.values()) / n
                yield Figure(None, f"{name}_{source}_to_{target}", controls[name], rate)


def _counts(
    pair: Any, own: Mapping[str, Any], sides: Mapping[str, _Side], ways: Mapping[Way, _Direction]
) -> Iterator[Figure]:
    alone = {(side, each["rung"]): each["a_fools_b"] for side in sides for each in own[side]["rungs"]}
    for recorded in pair["rungs"]:
        rung = recorded["rung"]
        common = sides["a"].correct[rung] & sides["b"].correct[rung]
        yield Figure(rung, "n", recorded["n"], int(common.sum()))
        for (source, target), way in ways.items():
            if rung in way.fooled:
                name = f"{source}_fools_{target}"
                yield Figure(rung, name, recorded[name], int(way.fooled[rung].sum()))
        for side, each in sides.items():
            if rung in each.made and (side, rung) in alone:
                yield Figure(rung, f"{side}_fools_itself", alone[side, rung], int(each.made[rung].fooled.sum()))
    both, (out, back) = pair["fooled"]["both"], (ways[way].fooled for way in DIRECTIONS)
    if both is not None and out.keys() == back.keys():
        fooled = np.concatenate([out[rung] & back[rung] for rung in out])
        yield Figure(None, "fooled_both", both, int(fooled.sum()))


def _score(pair: Any, found: Mapping[tuple[int | None, str], Figure]) -> Iterator[Figure]:
    """Yield SAT and the bounds of its interval, from the counts of all rungs."""
    from sat_engine.errors import NotComputableError
    from sat_engine.scores import PairCounts, score

    def total(name: str) -> int | None:
        parts = [found.get((recorded["rung"], name)) for recorded in pair["rungs"]]
        return None if None in parts else sum(int(each.recomputed) for each in parts if each is not None)

    out, back = total("a_fools_b"), total("b_fools_a")
    both = found.get((None, "fooled_both"))
    counts = PairCounts(
        total("n") or 0, out, back, int(both.recomputed) if both and out is not None and back is not None else None
    )
    try:
        here = score(counts)
    except NotComputableError:
        return
    if pair["sat"] is not None:
        yield Figure(None, "sat", pair["sat"], here.sat)
        yield Figure(None, "sat_low", pair["interval"][0], here.interval[0])
        yield Figure(None, "sat_high", pair["interval"][1], here.interval[1])
