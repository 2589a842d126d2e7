"""`make setup`: real venvs and a real pip, on a project without dependencies, so that nothing is downloaded."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
SCRIPT = REPOSITORY / "requirements" / "setup.sh"
# a build backend of the project's own: pip would fetch any other
BACKEND = """
import pathlib, zipfile
def build_editable(folder, settings=None, metadata=None):
    name = "sat_small-1-py3-none-any.whl"
    with zipfile.ZipFile(pathlib.Path(folder) / name, "w") as wheel:
        wheel.writestr("sat_small.pth", str(pathlib.Path.cwd()))
        wheel.writestr("sat_small-1.dist-info/METADATA", "Metadata-Version: 2.1\\nName: sat-small\\nVersion: 1\\n")
        wheel.writestr("sat_small-1.dist-info/WHEEL", "Wheel-Version: 1.0\\nTag: py3-none-any\\n")
        wheel.writestr("sat_small-1.dist-info/RECORD", "")
    return name
"""
PROJECT = """
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]
[project]
name = "sat-small"
version = "1"
"""


def make_clone(clone: Path) -> Path:
    """Make a clone of a project that needs nothing."""
    (clone / "requirements").mkdir(parents=True)
    shutil.copy(SCRIPT, clone / "requirements" / "setup.sh")
    (clone / "requirements" / "all.txt").write_text("")
    (clone / "backend.py").write_text(BACKEND)
    (clone / "pyproject.toml").write_text(PROJECT)
    return clone


def set_up(clone: Path, *arguments: str, path: str | None = None) -> subprocess.CompletedProcess[str]:
    """Run the set-up with few variables set, as a fresh machine would."""
    return subprocess.run(
        ["/bin/sh", "requirements/setup.sh", *arguments],
        cwd=clone,
        env={"PATH": path or os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=False,
    )


def fake_python(folder: Path, script: str) -> str:
    """Put a python3 that runs a shell script first on a PATH that has no other Python; return that PATH."""
    tools = folder / "tools"
    tools.mkdir()
    for name in ("sh", "cat", "tail", "awk", "rm", "mv", "chmod"):
        found = shutil.which(name)
        assert found is not None
        (tools / name).symlink_to(found)
    python = tools / "python3"
    python.write_text(f"#!/bin/sh\n{script}\n")
    python.chmod(0o755)
    return str(tools)


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone that was set up once, over leftovers that cannot be written, below a folder with a space in its name."""
    clone = make_clone(tmp_path_factory.mktemp("set up") / "a clone")
    for name in (".venv", "sat_registry.egg-info"):
        inner = clone / name / "inner"
        inner.mkdir(parents=True)
        (inner / "file").write_text("")
        inner.chmod(0o500)
        inner.parent.chmod(0o500)
    result = set_up(clone, sys.executable)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "Set up." in result.stdout
    return clone


def test_nothing_is_said_or_done_when_it_is_up_to_date(ready: Path) -> None:
    assert not (ready / "sat_registry.egg-info").exists()
    stamped_at = (ready / ".venv" / "stamp").stat().st_mtime_ns
    result = set_up(ready, sys.executable)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    assert (ready / ".venv" / "stamp").stat().st_mtime_ns == stamped_at


def test_a_change_brings_it_up_to_date_and_an_interruption_makes_it_anew(ready: Path) -> None:
    kept = ready / ".venv" / "kept"
    kept.write_text("")
    (ready / "requirements" / "all.txt").write_text("./absent\n")
    failed = set_up(ready, sys.executable)
    assert "The dependencies have changed" in failed.stdout
    assert kept.exists()  # not made anew
    assert failed.returncode == 1
    assert "pip could not install the dependencies" in failed.stderr
    assert "absent" in failed.stderr
    assert not (ready / ".venv" / "stamp").exists()  # half a set-up does not count

    (ready / "requirements" / "all.txt").write_text("")
    again = set_up(ready, sys.executable)
    assert again.returncode == 0, again.stdout + again.stderr
    assert "Making .venv" in again.stdout
    assert not kept.exists()
    assert set_up(ready, sys.executable).stdout == ""


@pytest.mark.parametrize(
    ("script", "sentence"),
    [
        pytest.param("exit 1", "no Python 3.11 or later was found", id="too-old"),
        pytest.param('case "$2" in *ensurepip*) exit 1;; esac', "python3 has no venv module", id="without-venv"),
    ],
)
def test_a_machine_without_a_fitting_python_is_told_what_to_install(tmp_path: Path, script: str, sentence: str) -> None:
    result = set_up(make_clone(tmp_path / "clone"), path=fake_python(tmp_path, script))
    assert result.returncode == 1
    assert sentence in result.stderr
    assert "apt install python3" in result.stderr


def test_a_python_asked_for_by_name_must_fit(tmp_path: Path) -> None:
    result = set_up(make_clone(tmp_path / "clone"), "/bin/false")
    assert result.returncode == 1
    assert "PYTHON=/bin/false is not Python 3.11 or later" in result.stderr


def test_make_help_lists_every_target() -> None:
    text = (REPOSITORY / "Makefile").read_text()
    declared = next(line for line in text.splitlines() if line.startswith(".PHONY:")).split()[1:]
    # without the flags of the make that may run this test
    answer = subprocess.run(
        ["make", "help"],
        cwd=REPOSITORY,
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=True,
    )
    assert [line.split()[1] for line in answer.stdout.splitlines()] == declared
