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


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A clone of a project that needs nothing, in a folder with a space in its name."""
    clone = tmp_path / "a clone"
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


def test_it_sets_up_once_and_again_when_something_changed_or_was_interrupted(clone: Path) -> None:
    first = set_up(clone, sys.executable)
    assert first.returncode == 0, first.stdout + first.stderr
    assert "Set up." in first.stdout
    kept = clone / ".venv" / "kept"
    kept.write_text("")

    assert set_up(clone, sys.executable).stdout == ""  # up to date: nothing is said or done

    (clone / "pyproject.toml").write_text(PROJECT + "# changed\n")
    changed = set_up(clone, sys.executable)
    assert "have changed" in changed.stdout
    assert kept.exists()  # brought up to date, not made anew

    (clone / ".venv" / "stamp").unlink()  # as an interrupted set-up leaves it
    interrupted = set_up(clone, sys.executable)
    assert "Making .venv" in interrupted.stdout
    assert not kept.exists()
    assert set_up(clone, sys.executable).stdout == ""


def test_leftovers_that_cannot_be_written_are_no_obstacle(clone: Path) -> None:
    for name in (".venv", "sat_registry.egg-info"):
        inner = clone / name / "inner"
        inner.mkdir(parents=True)
        (inner / "file").write_text("")
        inner.chmod(0o500)
        inner.parent.chmod(0o500)
    result = set_up(clone, sys.executable)
    assert result.returncode == 0, result.stdout + result.stderr
    assert (clone / ".venv" / "stamp").exists()
    assert not (clone / "sat_registry.egg-info").exists()


def test_a_dependency_that_cannot_be_installed_is_shown_and_nothing_counts_as_set_up(clone: Path) -> None:
    (clone / "requirements" / "all.txt").write_text("./absent\n")
    result = set_up(clone, sys.executable)
    assert result.returncode == 1
    assert "pip could not install the dependencies" in result.stderr
    assert "absent" in result.stderr
    assert not (clone / ".venv" / "stamp").exists()


@pytest.mark.parametrize(
    ("script", "sentence"),
    [
        pytest.param("exit 1", "no Python 3.11 or later was found", id="too-old"),
        pytest.param('case "$2" in *ensurepip*) exit 1;; esac', "python3 has no venv module", id="without-venv"),
    ],
)
def test_a_machine_without_a_fitting_python_is_told_what_to_install(clone: Path, script: str, sentence: str) -> None:
    result = set_up(clone, path=fake_python(clone.parent, script))
    assert result.returncode == 1
    assert sentence in result.stderr
    assert "apt install python3" in result.stderr


def test_a_python_asked_for_by_name_must_fit(clone: Path) -> None:
    result = set_up(clone, "/bin/false")
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
