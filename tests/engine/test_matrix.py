"""The engine on its own: a matrix of scores from networks and a folder of images."""

import re
import subprocess
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import sat_engine
from sat_engine import measure, networks, read_folder, sat_matrix
from sat_engine.accuracy import is_near_chance
from sat_engine.errors import NotComputableError
from sat_engine.io.folders import FolderError
from sat_engine.matrix import assemble
from sat_engine.protocol import Protocol
from sat_engine.scores import count_pair, score

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def folder(digits: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Digits as image files, a folder a class, oblong so that the middle is cut out."""
    root = tmp_path_factory.mktemp("library") / "photos"
    for index, (image, label) in enumerate(zip(digits.images[:40], digits.labels[:40], strict=True)):
        (root / str(label)).mkdir(parents=True, exist_ok=True)
        oblong = np.pad(image[..., 0], ((0, 0), (6, 6)), constant_values=255)
        Image.fromarray(oblong).save(root / str(label) / f"{index:03}.png")
    return root


def test_a_matrix_holds_what_its_parts_measure(zoo: Any, digits: Any, quick: Any, results: Any) -> None:
    heard: list[float] = []
    matrix = sat_matrix(
        {name: trained.classifier for name, trained in zoo.items()},
        digits.images,
        digits.labels,
        quick,
        progress=heard.append,
    )
    assert heard == sorted(heard)
    assert heard[-1] == pytest.approx(1)
    names = list(zoo)
    assert matrix.names == tuple(names)
    assert np.isnan(np.diag(matrix.sat)).all()
    assert np.array_equal(matrix.sat, matrix.sat.T, equal_nan=True)
    a, b = zoo[names[0]], zoo[names[1]]
    common = a.correct & b.correct
    fooled = [
        measure.transfer(target.classifier, results[source].images, results[source].positions, digits.labels, common)
        for source, target in ((names[0], b), (names[1], a))
    ]
    counts = count_pair(a.correct, b.correct, *fooled)
    assert matrix.counts[0, 1] == counts
    assert matrix.scores[0, 1] == score(counts)
    assert matrix.self_fooling[0] == results[names[0]].fooled.sum() / a.correct.sum()
    assert f"{matrix.sat[0, 1]:.2f}" in matrix.table()


def test_labels_in_another_order_than_the_outputs_are_refused(zoo: Any, digits: Any, quick: Any) -> None:
    networks = {name: trained.classifier for name, trained in zoo.items()}
    with pytest.raises(NotComputableError, match=r"byobnet gets .* of 230 images right, where guessing gets 10\.0%"):
        sat_matrix(networks, digits.images, (digits.labels + 1) % 10, quick)


def test_an_accuracy_is_near_chance_below_a_tenth_of_the_way_to_all() -> None:
    assert [is_near_chance(accuracy, 10) for accuracy in (0.05, 0.18, 0.2, 0.9)] == [True, True, False, False]
    assert [is_near_chance(accuracy, 1000) for accuracy in (0.001, 0.1, 0.11)] == [True, True, False]


def test_a_network_that_cannot_be_attacked_is_missing_with_a_reason_and_the_others_go_on(
    zoo: Any, digits: Any, quick: Any, results: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    attack = measure.attack

    def refusing(classifier: Any, *arguments: Any, **options: Any) -> measure.AttackResult:
        if classifier is zoo["nfnet"].classifier:
            raise NotComputableError("it has no patches")
        return attack(classifier, *arguments, **options)

    monkeypatch.setattr(measure, "attack", refusing)
    classifiers = {name: trained.classifier for name, trained in zoo.items()}
    matrix = sat_matrix(classifiers, digits.images, digits.labels, quick)
    lost = list(zoo).index("nfnet")
    assert matrix.missing == {(lost, j): "it has no patches" for j in range(len(zoo))}
    others = [index for index in range(len(zoo)) if index != lost]
    assert np.isfinite(matrix.sat[others[0], others[1]])
    assert np.isnan(matrix.sat[lost]).all()
    assert np.isnan(matrix.self_fooling[lost])
    one_sided = matrix.scores[min(lost, others[0]), max(lost, others[0])]
    assert one_sided.one_sided
    assert "nfnet → byobnet" in matrix.table()
    assert matrix.table().endswith(": it has no patches")


def test_the_table_marks_weak_attacks_and_floors() -> None:
    correct = np.ones((3, 100), np.bool_)
    correct[2] = False
    fooled = np.zeros((3, 3, 100), np.bool_)
    fooled[0, 0], fooled[1, 1, :90] = True, True
    table = assemble(["strong", "weak", "never right"], correct, fooled).table()
    assert "weak *" in table
    assert "strong *" not in table
    assert "never right *" not in table, "of no attacked image, nothing is said"
    floor = score(count_pair(correct[0], correct[1], fooled[0, 1], fooled[1, 0]))
    assert table.count(f"≤{floor.interval[1]:.2f}") == 2


def test_progress_counts_gradients_and_not_steps(zoo: Any, digits: Any) -> None:
    protocol = Protocol(
        attack="vmi-fgsm", epsilon=Fraction(8, 255), step_size=Fraction(8, 255), steps=1,
        options={"neighbours": Fraction(3)},
    )  # fmt: skip
    heard: list[float] = []
    classifiers = {name: zoo[name].classifier for name in ("byobnet", "nfnet")}
    sat_matrix(classifiers, digits.images[:64], digits.labels[:64], protocol, progress=heard.append)
    # of 1 + (2 · 4 + 2) + 1 forwards a network and image, the first attack ends after 11
    assert heard[0] == pytest.approx(11 / 24)


def test_a_pair_without_common_images_has_no_score() -> None:
    correct = np.array([[True, True, False], [False, False, True]])
    matrix = assemble(["a", "b"], correct, np.zeros((2, 2, 3), np.bool_))
    assert np.isnan(matrix.sat).all()
    assert matrix.counts[0, 1].n == 0
    assert not matrix.scores


def test_a_folder_is_read_with_its_middles_and_labels(folder: Path, digits: Any) -> None:
    images, labels, names = read_folder(folder, 32)
    assert names == tuple("0123456789")
    assert images.shape == (40, 32, 32, 3)
    order = sorted(range(40), key=lambda index: (digits.labels[index], index))
    assert labels.tolist() == [digits.labels[index] for index in order]
    assert np.array_equal(images[..., :1], digits.images[order])


def test_a_folder_s_classes_can_be_given(folder: Path) -> None:
    classes = tuple("9876543210")
    assert set(read_folder(folder, 8, classes=classes)[1]) == set(range(10))
    assert read_folder(folder, 8, classes=classes)[1][0] == 9
    with pytest.raises(FolderError, match="no class: 0"):
        read_folder(folder, 8, classes=classes[:9])


def test_bad_folders_are_refused_with_a_reason(tmp_path: Path) -> None:
    with pytest.raises(FolderError, match="is no folder"):
        read_folder(tmp_path / "nowhere", 8)
    with pytest.raises(FolderError, match="holds no images"):
        read_folder(tmp_path, 8)
    (tmp_path / "cats").mkdir()
    (tmp_path / "cats" / "a.png").write_bytes(b"no image")
    with pytest.raises(FolderError, match=r"a\.png cannot be read"):
        read_folder(tmp_path, 8)


def test_the_readme_s_code_runs(folder: Path, zoo: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    section = (ROOT / "README.md").read_text().partition("## As a library")[2]
    match = re.search(r"```python\n(.*?)```", section, re.DOTALL)
    assert match
    assert len(match[1].splitlines()) <= 10
    # no hub here: the trained networks stand for the pretrained ones
    members = iter(zoo.values())

    def build_trained(name: str) -> networks.Classifier:
        trained = next(members)
        built = networks.build(trained.spec, trained.tensors, image_channels=3)
        built.class_names = tuple("0123456789")
        return built

    monkeypatch.setattr(networks, "pretrained", build_trained)
    monkeypatch.chdir(folder.parent)
    heard: list[Any] = []
    exec(match[1], {"print": lambda *words: heard.append(words)})
    assert "resnet18.a1_in1k" in heard[-1][0]


def test_nothing_is_imported_before_it_is_asked_for() -> None:
    program = "import sys, sat_engine; print('torch' in sys.modules, 'numpy' in sys.modules); sat_engine.NetworkSpec"
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["False", "False"]
    assert all(getattr(sat_engine, name) is not None for name in sat_engine.__all__)
    assert dir(sat_engine) == sorted(sat_engine.__all__)
    with pytest.raises(AttributeError, match="sat_engine has no 'nothing'"):
        _ = sat_engine.nothing


def test_the_example_runs_offline() -> None:
    command = [sys.executable, "-m", "examples.matrix", "--digits"]
    run = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=120, check=True)
    assert "test_efficientnet" in run.stdout
