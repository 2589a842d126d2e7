"""The zoo is what the demo promises, and its training repeats itself, keeps what is done and leaves no halves."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from fractions import Fraction
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from examples.digits import calibrate, images
from examples.digits.train import Trained, TrainingError, train_members
from examples.digits.zoo import EPSILON, MEMBERS, PROTOCOL, Member
from sat_engine.catalogue import find
from sat_engine.components import read_anatomy
from sat_engine.networks import create_module
from sat_engine.protocol import Protocol

BYOBNET, RESNET = (
    next(member for member in MEMBERS if member.architecture == f"test_{kind}") for kind in ("byobnet", "resnet")
)
TINY = tuple(replace(member, recipe=replace(member.recipe, epochs=1)) for member in (BYOBNET, RESNET))


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The fastest member, trained by its own recipe, and another trained hardly at all."""
    return train_members(tmp_path_factory.mktemp("zoo"), (BYOBNET, TINY[1]))


def test_images_are_digits_and_no_held_out_one_is_trained_on() -> None:
    squares, labels = images.held_out()
    others, other_labels = images.training()
    assert (squares.shape, squares.dtype, labels.dtype) == ((800, 32, 32, 1), np.uint8, np.int64)
    assert len(others) == 997
    assert set(labels) == set(other_labels) == set(range(len(images.CLASSES)))
    assert (squares.min(), squares.max()) == (0, 255)
    assert len({each.tobytes() for each in (*squares, *others)}) == 1797


def test_the_split_is_fixed() -> None:
    # which scans are held out is part of every digest: it must not move between versions
    assert images.held_out()[1][:20].tolist() == [2, 5, 7, 9, 1, 2, 7, 1, 8, 7, 1, 5, 7, 9, 6, 2, 6, 0, 4, 0]


def test_the_zoo_is_diverse() -> None:
    assert len(MEMBERS) == len({member.name for member in MEMBERS}) >= 12
    assert len({find(member.architecture).family for member in MEMBERS}) >= 6
    bases = [find(member.architecture).base for member in MEMBERS]
    assert bases.count("Transformer") >= 3
    assert {"CNN", "Transformer", "Hybrid", "NAS (CNN)"} <= set(bases)
    twins = [pair for pair in combinations(MEMBERS, 2) if calibrate.kind_of_pair(*pair).startswith("Same")]
    assert len(twins) >= 2
    assert all(one.seed != other.seed for one, other in twins)
    assert {member.channels for member in MEMBERS} == {1, 3}
    assert len({member.input_side for member in MEMBERS}) > 1
    assert Protocol.from_parameters(PROTOCOL).epsilon == EPSILON <= Fraction(16, 255)


@pytest.mark.parametrize("member", MEMBERS, ids=lambda member: member.name)
def test_every_member_can_be_built_and_described(member: Member) -> None:
    metadata = json.loads(json.dumps(member.metadata()))
    assert metadata["input"]["size"] == member.input_side
    assert len(metadata["input"]["mean"]) == len(metadata["input"]["std"]) == member.channels
    network = create_module(metadata["architecture"], metadata["model_args"], member.input_side, member.channels)
    anatomy = read_anatomy(network, member.architecture, input_side=member.input_side, channels=member.channels)
    assert anatomy.components["Input resolution"] == f"{member.input_side} x {member.input_side}"
    assert None not in (anatomy.base, anatomy.family)
    assert anatomy.parameters < 1_000_000


def test_a_trained_member_passes(trained: dict[str, Path]) -> None:
    classifier = calibrate.load(BYOBNET, trained[BYOBNET.name])
    measured = calibrate.attacked(BYOBNET, classifier, Protocol.from_parameters(PROTOCOL), n=200)
    assert calibrate.passes(measured), (measured.accuracy, measured.self_fooling, measured.noise_rate)


def test_training_repeats_itself_bit_by_bit(trained: dict[str, Path], tmp_path: Path) -> None:
    again = train_members(tmp_path, TINY)  # in other company, in another process
    first, second = load_file(trained[RESNET.name]), load_file(again[RESNET.name])
    assert first.keys() == second.keys()
    assert all(np.array_equal(first[name], second[name]) for name in first)


def test_what_is_there_is_not_trained_again(trained: dict[str, Path]) -> None:
    path = trained[TINY[1].name]
    before = path.stat().st_mtime_ns
    heard: list[Trained] = []
    assert train_members(path.parents[1], [TINY[1]], heard.append) == {RESNET.name: path}
    assert heard == [Trained(name=RESNET.name, path=path, seconds=0.0, done=1, total=1)]
    assert path.stat().st_mtime_ns == before


def test_another_recipe_or_seed_is_another_checkpoint() -> None:
    assert len({member.digest() for member in MEMBERS}) == len(MEMBERS)
    assert TINY[0].digest() != BYOBNET.digest()
    assert replace(BYOBNET).digest() == BYOBNET.digest()


def test_a_failure_names_the_member(tmp_path: Path) -> None:
    broken = replace(TINY[0], name="broken", options={"no_such_argument": 1})
    with pytest.raises(TrainingError, match="training broken failed"):
        train_members(tmp_path, [broken])
    assert not list(tmp_path.rglob("*.safetensors"))


def test_killing_the_parent_ends_training_and_leaves_no_checkpoint(tmp_path: Path) -> None:
    program = tmp_path / "training.py"
    program.write_text(
        "import sys\nfrom pathlib import Path\nfrom examples.digits.train import train_zoo\n"
        "if __name__ == '__main__':\n    train_zoo(Path(sys.argv[1]))\n"
    )
    parent = subprocess.Popen(
        [sys.executable, program, tmp_path / "zoo"],
        cwd=Path(__file__).parents[2],
        env={**os.environ, "PYTHONPATH": "."},
    )
    children = _wait_for_children(parent.pid)
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    deadline = time.monotonic() + 15
    while any(Path(f"/proc/{child}").exists() for child in children):
        assert time.monotonic() < deadline, "training goes on without its parent"
        time.sleep(0.05)
    assert not list(tmp_path.rglob("*.safetensors"))


def _wait_for_children(pid: int) -> list[int]:
    """Return the process ids of two or more children, once there are."""
    for _ in range(600):
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        if len(children) >= 3:  # two trainers, and multiprocessing's own tracker of resources
            return [int(child) for child in children]
        time.sleep(0.05)
    raise AssertionError("no training process was started")
