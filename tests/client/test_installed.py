"""The client, installed by pip into an environment of its own: what comes along, and that it works against an api."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from embedded.supervisor import Stack
from tests.client.test_alone import HEAVY

pytestmark = pytest.mark.skipif(
    not os.environ.get("SAT_TEST_INSTALL"), reason="needs a package index: make test-client"
)

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def binaries(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bin folder of an environment with `pip install sat-registry` and nothing else."""
    folder = tmp_path_factory.mktemp("installed")
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout.split(b"\0")
    for name in filter(None, map(os.fsdecode, tracked)):
        copy = folder / "source" / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, copy)
    subprocess.run([sys.executable, "-m", "venv", folder / "env"], check=True)
    subprocess.run([folder / "env" / "bin" / "pip", "install", "-q", folder / "source"], check=True)
    return folder / "env" / "bin"


def test_pip_brings_neither_torch_nor_a_database(binaries: Path) -> None:
    listed = subprocess.run(
        [binaries / "pip", "list", "--format", "json"], capture_output=True, check=True, cwd=binaries
    )
    names = {package["name"].lower() for package in json.loads(listed.stdout)}
    assert "sat-registry" in names
    assert not names & HEAVY


def test_the_installed_command_talks_to_an_api(binaries: Path, tmp_path: Path) -> None:
    with Stack(tmp_path / "home", port=18900, compute_workers=1, say=lambda _: None) as stack:
        shown = run_sat(binaries, tmp_path, "models", "--json", "--url", stack.url)
    assert shown.returncode == 0, shown.stderr
    assert json.loads(shown.stdout)["total"] == 0


def test_what_needs_the_server_says_what_to_install(binaries: Path, tmp_path: Path) -> None:
    shown = run_sat(binaries, tmp_path, "serve")
    assert shown.returncode != 0
    assert 'pip install "sat-registry[embedded]"' in shown.stderr


def run_sat(binaries: Path, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the installed command in a folder from which this checkout cannot be imported."""
    return subprocess.run([binaries / "sat", *arguments], check=False, capture_output=True, text=True, cwd=folder)
