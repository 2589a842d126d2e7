"""`sat verify`: one recorded pair, computed once more from what its digests name."""

import hashlib
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from client.errors import ClientError
from client.output import ImageSetName, ProtocolName, Url, connect, console, say

if TYPE_CHECKING:
    from client.registry import Registry
    from sat_engine import measure
    from sat_engine.networks import Classifier
    from sat_engine.protocol import Protocol

COUNTS = ("n", "a_fools_b", "b_fools_a")
Counts = dict[tuple[int, str], int | None]  # by rung and name; None where a direction is not recorded
# the determinism contract (docs/sat.md): another batch, thread count or memory format may turn so many bits
TOLERATED = 0.001


@dataclass(frozen=True, kw_only=True)
class Side:
    """One of the two networks, rebuilt, on one rung: where (n,) it is right, and its adversarial images."""

    classifier: "Classifier"
    correct: "measure.Bools"
    attack: "measure.AttackResult"


def verify(
    a: Annotated[str, typer.Argument(help="A model.")],
    b: Annotated[str, typer.Argument(help="Another one.")],
    *,
    image_set: ImageSetName = None,
    protocol: ProtocolName = None,
    device: Annotated[str, typer.Option("--device", help="Compute here: cpu, or cuda:N.")] = "cpu",
    url: Url = None,
) -> None:
    """Compute a recorded pair once more from its digests, and compare count by count; exit 1 where they differ."""
    # before torch is loaded: on two cores, threads that wait busily took 4 min 33 s for what one does in 20 s
    for name, value in (("OMP_NUM_THREADS", "1"), ("OMP_WAIT_POLICY", "PASSIVE")):
        os.environ.setdefault(name, value)
    with connect(url) as registry, tempfile.TemporaryDirectory(prefix="sat-verify-") as scratch:
        pair = registry.pair(a, b, image_set=image_set, protocol=protocol)
        _require_recorded(pair)
        recomputed, paths = _recompute(registry, pair, Path(scratch), device)
    rungs: Any = pair["rungs"]
    recorded: Counts = {(each["rung"], name): each[name] for each in rungs for name in COUNTS}
    say(f"{pair['a']} (a) and {pair['b']} (b) on {pair['comparison']}; every digest is as recorded")
    console.print(_table(recorded, recomputed))
    made = sorted({each["numeric_path"] for each in pair["made_by"]})
    say(f"recorded by {'; '.join(made)}")
    say(f"here by     {'; '.join(paths)}")
    if recorded == recomputed:
        say("Equal, count by count.")
        return
    say(_difference(recorded, recomputed, other_path=made != paths))
    raise typer.Exit(1)


def _require_recorded(pair: Any) -> None:
    if not pair["rungs"]:
        raise ClientError(f"{pair['a']} and {pair['b']}: nothing is recorded to verify ({pair['reason']})")
    if pair["digests"]["a"] == pair["digests"]["b"]:
        raise ClientError(f"{pair['a']} and {pair['b']} are the same network; verify a pair of two.")


def _recompute(registry: "Registry", pair: Any, folder: Path, device: str) -> tuple[Counts, list[str]]:
    """Return the counts by (rung, name), None where a direction is not recorded, and the numeric paths used."""
    from sat_engine.scores import count_pair

    protocol = _protocol(registry, pair["protocol"])
    described = registry.image_set(pair["image_set"])
    squares, labels = _attack_part(registry, described, folder)
    classifiers = [
        _classifier(registry, pair, side, described, folder, device=device, channels=squares.shape[3])
        for side in ("a", "b")
    ]
    counts: Counts = {}
    for recorded in pair["rungs"]:
        rung = slice(0, described["prefix"]) if recorded["rung"] == 0 else slice(described["prefix"], None)
        say(f"Computing rung {recorded['rung']}: {len(labels[rung])} images, {protocol.gradients} gradients each …")
        sides = [_side(each, squares[rung], labels[rung], protocol, rung.start) for each in classifiers]
        one, other = sides
        there = None if recorded["a_fools_b"] is None else _fooled(one, other, labels[rung])
        back = None if recorded["b_fools_a"] is None else _fooled(other, one, labels[rung])
        found = count_pair(one.correct, other.correct, there, back)
        for name, value in zip(COUNTS, (found.n, found.fooled_ab, found.fooled_ba), strict=True):
            counts[recorded["rung"], name] = value
    return counts, sorted({each.numeric_path for each in classifiers})


def _side(
    classifier: "Classifier", squares: "measure.Images", labels: "measure.Integers", protocol: "Protocol", first: int
) -> Side:
    from sat_engine import measure

    correct = measure.correct(measure.evaluate(classifier, squares), labels)
    made = measure.attack(classifier, squares, labels, correct, protocol, positions_from=first)
    return Side(classifier=classifier, correct=correct, attack=made)


def _fooled(source: Side, target: Side, labels: "measure.Integers") -> "measure.Bools":
    from sat_engine import measure

    common = source.correct & target.correct
    return measure.transfer(target.classifier, source.attack.images, source.attack.positions, labels, common)


def _protocol(registry: "Registry", name: str) -> "Protocol":
    from sat_engine.protocol import Protocol

    row = next(each for each in registry.protocols() if each["name"] == name)
    protocol = Protocol.from_parameters(row["parameters"])
    _require("protocol", name, row["digest"], protocol.digest())
    return protocol


def _attack_part(registry: "Registry", described: Any, folder: Path) -> "tuple[measure.Images, measure.Integers]":
    """Return the images and labels of the attack part, in the fixed order, from content whose hash is checked."""
    from registry.identity import image_set_digest
    from registry.tasks import task_digest
    from sat_engine.io.tensors import read_arrays
    from sat_engine.ordering import order

    path = registry.image_set_content(described["name"], folder / "images.safetensors")
    with path.open("rb") as file:
        content = hashlib.file_digest(file, "sha256").digest()
    parts = described["parts"]
    digest = image_set_digest(
        task=task_digest(described["task"]["classes"]),
        content=content,
        parts=[parts[name] for name in ("attack", "select", "report")],
        prefix=described["prefix"],
        seed=described["seed"],
    )
    _require("image set", described["name"], described["digest"], digest)
    arrays = read_arrays(path)
    chosen = order(len(arrays["labels"]), described["seed"])[: parts["attack"]]
    return arrays["images"][chosen], arrays["labels"][chosen].astype("int64")


def _classifier(
    registry: "Registry", pair: Any, side: str, described: Any, folder: Path, *, device: str, channels: int
) -> "Classifier":
    """Return the network of that digest, on the numeric path that its results were recorded with."""
    from sat_engine.io.weights import read_weights
    from sat_engine.networks import NetworkSpec, build, network_digest, weights_digest
    from sat_engine.precision import precision_of

    digest = pair["digests"][side]
    model = registry.model(f"@{digest}", image_set=pair["image_set"], protocol=pair["protocol"])
    path = registry.checkpoint(f"@{digest}", folder / f"{digest}.safetensors")
    fed: Any = model["input"]
    spec = NetworkSpec(
        architecture=model["architecture"],
        model_args=model["model_args"],
        input_side=fed["size"],
        channels=fed["channels"],
        mean=tuple(fed["mean"]),
        std=tuple(fed["std"]),
        class_map=tuple(model["class_map"] or ()),
    )
    _require("network", model["name"], digest, network_digest(spec, weights_digest(path), described["task"]["classes"]))
    precision = precision_of(model["numeric_path"] or "float32")
    return build(spec, read_weights(path), image_channels=channels, device=device, precision=precision)


def _require(kind: str, name: str, recorded: str, found: bytes) -> None:
    if found.hex() != recorded:
        raise ClientError(
            f"the {kind} {name!r} that the registry gave has digest {found.hex()[:16]}…, but {recorded[:16]}… is "
            "recorded: it is not what was measured."
        )


def _table(recorded: Counts, found: Counts) -> Table:
    table = Table(box=None, header_style="bold")
    for title in ("rung", "count"):
        table.add_column(title)
    for title in ("recorded", "recomputed", ""):
        table.add_column(title, justify="right")
    for row in _rows(recorded, found):
        table.add_row(*row)
    return table


def _rows(recorded: Counts, found: Counts) -> Iterator[tuple[str, ...]]:
    said = {"n": "images both get right", "a_fools_b": "a fools b", "b_fools_a": "b fools a"}
    for (rung, name), value in recorded.items():
        if value is not None:
            other = found[rung, name]
            yield str(rung), said[name], str(value), str(other), "" if value == other else "differs"


def _difference(recorded: Counts, found: Counts, *, other_path: bool) -> str:
    pairs = {key: (value, found[key]) for key, value in recorded.items() if value is not None}
    bits = sum(abs(one - (other or 0)) for (_, name), (one, other) in pairs.items() if name != "n")
    of = sum(one for (rung, name), (one, _) in pairs.items() for each in ("a_fools_b", "b_fools_a")
             if name == "n" and (rung, each) in pairs)  # fmt: skip
    clean = any(one != other for (_, name), (one, other) in pairs.items() if name == "n")
    within = "within" if not clean and bits <= TOLERATED * of else "beyond"
    reason = "the numeric path differs" if other_path else "the numeric path is the same, and then none may differ"
    return (
        f"Different: {bits} of {of} fooled bits at the least{', and clean bits too' if clean else ''}; {reason}. Where "
        f"paths differ, the determinism contract allows {TOLERATED:.1%} of fooled bits and no clean bit: this is "
        f"{within} it."
    )
