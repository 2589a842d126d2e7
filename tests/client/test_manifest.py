"""`sat register --manifest`: everything is checked before the first model is sent, and errors name the line."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from client.errors import InputError
from client.manifest import read_manifest
from client.registry import Registry
from client.tables.plan import hours, size
from tests.client.conftest import Outcome

COLUMNS = "name,architecture,file,classes,model_args,size,mean,std,tags"
GOOD = 'a,test_resnet,a.safetensors,classes.txt,"{""in_chans"": 1}",32,0.3,0.38,x;y'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the files that GOOD names."""
    save_file({"weight": np.ones(3)}, tmp_path / "a.safetensors")
    (tmp_path / "classes.txt").write_text("no\nyes\n")
    return tmp_path


def write(folder: Path, *lines: str) -> Path:
    path = folder / "zoo.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def test_a_row_becomes_the_metadata_of_a_registration(folder: Path) -> None:
    (entry,) = read_manifest(write(folder, COLUMNS, GOOD), last_rung=0)
    assert entry.metadata == {
        "name": "a",
        "architecture": "test_resnet",
        "classes": ["no", "yes"],
        "model_args": {"in_chans": 1},
        "input": {"size": 32, "channels": 1, "mean": [0.3], "std": [0.38]},
        "tags": ["x", "y"],
        "last_rung": 0,
    }
    assert (entry.line, entry.file) == (2, folder / "a.safetensors")


def test_a_row_may_name_its_own_rung(folder: Path) -> None:
    (entry,) = read_manifest(
        write(folder, "name,architecture,pretrained,last_rung", "a,resnet18,a1_in1k,1"), last_rung=0
    )
    assert entry.metadata["last_rung"] == 1
    assert entry.sha256() is None


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        ([], "names no model|lacks the column"),
        ([COLUMNS], "names no model"),
        (["name,file", "a,a.safetensors"], "line 1 lacks the column 'architecture'"),
        ([f"{COLUMNS},colour", f"{GOOD},red"], "line 1 does not know the column 'colour'"),
        ([COLUMNS, GOOD, GOOD], "line 3 names 'a' again, as line 2 does"),
        ([COLUMNS, GOOD.replace("a.safetensors", "b.safetensors")], "line 2: there is no file"),
        ([COLUMNS, GOOD.replace("a.safetensors", "")], "line 2 needs exactly one of file, pretrained, source"),
        ([COLUMNS, GOOD.replace("classes.txt", "none.txt")], "line 2: the class names .* cannot be read"),
        ([COLUMNS, GOOD.replace("0.38", "")], "line 2 needs size, mean and std together"),
        ([COLUMNS, GOOD.replace("32", "big")], "line 2, size: 'big' cannot be used"),
        ([COLUMNS, GOOD.replace('{""in_chans"": 1}', "[1]")], "line 2, model_args: .*needs a JSON object"),
        ([COLUMNS, GOOD + ",more"], "line 2 has not as many fields"),
        ([COLUMNS, "a,test_resnet"], "line 2 has not as many fields"),
        ([COLUMNS, GOOD.replace("a,test_resnet", ",test_resnet")], "line 2 has no name"),
    ],
)  # fmt: skip
def test_what_cannot_be_registered_is_an_error_with_its_line(folder: Path, lines: list[str], says: str) -> None:
    with pytest.raises(InputError, match=says):
        read_manifest(write(folder, *lines))


def test_the_registry_checks_all_before_the_first_is_sent(
    sat: Callable[..., Outcome], real_url: str, folder: Path
) -> None:
    _add_comparison(real_url, folder)
    manifest = write(folder, COLUMNS, GOOD, GOOD.replace("a,test_resnet", "b,test_resnett"))
    ended = sat("register", "--manifest", manifest, "--url", real_url)
    assert (ended.code, ended.out) == (2, "")
    assert "line 3" in ended.err
    assert "test_resnett" in ended.err
    assert "Nothing was sent" in ended.err
    with Registry(real_url) as registry:
        assert list(registry.models()) == []

    manifest = write(folder, COLUMNS, GOOD, GOOD.replace("a,test_resnet", "b,test_resnet"))
    planned = sat("register", "--manifest", manifest, "--dry-run", "--url", real_url)
    assert planned.code == 0, planned.err
    assert "2 models against 0" in planned.out
    assert "assumed, nothing is measured yet" in planned.out
    with Registry(real_url) as registry:
        assert list(registry.models()) == []

    save_file({}, folder / "empty.safetensors")
    broken = write(folder, COLUMNS, GOOD, GOOD.replace("a,test_resnet,a", "c,test_resnet,empty"))
    stopped = sat("register", "--manifest", broken, "--rung", "0", "--url", real_url)
    assert stopped.code == 1
    assert "line 3: the safetensors file holds no tensor" in stopped.err
    assert "1 models before it are registered; the same command goes on" in stopped.err
    manifest = write(folder, COLUMNS, GOOD, GOOD.replace("a,test_resnet", "b,test_resnet"))

    first = sat("register", "--manifest", manifest, "--rung", "0", "--url", real_url)
    again = sat("register", "--manifest", manifest, "--rung", "0", "--url", real_url)
    assert "1 models are registered; 1 were there already" in first.out
    assert "0 models are registered; 2 were there already" in again.out
    answer = json.loads(sat("register", "--manifest", manifest, "--dry-run", "--json", "--url", real_url).out)
    assert [(each["present"], each["same"]) for each in answer["models"]] == [(True, True)] * 2

    save_file({"other": np.zeros(1)}, folder / "a.safetensors")
    other = sat("register", "--manifest", manifest, "--url", real_url)
    assert other.code == 1
    assert "line 2: the name 'a' already holds other content" in other.err


def _add_comparison(url: str, folder: Path) -> None:

    images = {"images": np.zeros((20, 8, 8, 1), np.uint8), "labels": np.arange(20) % 2}
    save_file(images, folder / "images.safetensors")
    with Registry(url) as registry:
        described: Any = {"name": "tiny", "classes": ["no", "yes"]}
        registry.create_image_set(described, folder / "images.safetensors")
        registry.compare("tiny", "pgd", state="paused", default=True)


def test_pause_resume_and_drain_name_what_they_changed(
    sat: Callable[..., Outcome], real_url: str, folder: Path
) -> None:
    _add_comparison(real_url, folder)
    for command, state in (("drain", "draining"), ("pause", "paused"), ("resume", "measuring")):
        assert sat(command, "--url", real_url).out == f"tiny/pgd is {state}.\n"
    assert json.loads(sat("pause", "tiny/pgd", "--json", "--url", real_url).out)["state"] == "paused"
    assert sat("pause", "tiny", "--url", real_url).code == 2
    assert sat("pause", "tiny/pgd", "--worker", "1", "--url", real_url).code == 2
    unknown = sat("drain", "--worker", "1", "--url", real_url)
    assert (unknown.code, "there is no worker 1" in unknown.err) == (1, True)


def test_figures_have_as_many_digits_as_they_deserve() -> None:
    assert [size(each) for each in (999, 1000, 123_456_789, 2 * 10**15)] == ["999 B", "1.0 kB", "123.5 MB", "2.0 PB"]
    assert [hours(each) for each in (0.00123, 9.87, 1234.5)] == ["0.0012", "9.9", "1,234.5"]
