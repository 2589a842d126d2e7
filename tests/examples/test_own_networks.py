"""An operator's package adds an architecture: its name for the catalogue, its code for the worker."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from sat_engine import catalogue
from sat_engine.components import read_anatomy
from sat_engine.networks import NetworkSpec, build, create_module

PACKAGE = Path(__file__).parents[2] / "examples" / "own_networks"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder into which the example package is installed by pip, without any index."""
    work = tmp_path_factory.mktemp("own_networks")
    source, site = work / "source", work / "site"
    source.mkdir()
    # a copy: building leaves files beside its sources
    for name in ("pyproject.toml", "own_networks.py"):
        (source / name).write_bytes((PACKAGE / name).read_bytes())
    options = ["--quiet", "--no-deps", "--no-index", "--no-build-isolation", "--disable-pip-version-check"]
    command = [sys.executable, "-m", "pip", "install", *options, "--target", str(site), str(source)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return site


@pytest.fixture
def installed(site: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The package is importable during the test."""
    monkeypatch.syspath_prepend(site)
    catalogue._installed.cache_clear()
    yield
    catalogue._installed.cache_clear()
    sys.modules.pop("own_networks", None)


def spec(**model_args: object) -> NetworkSpec:
    return NetworkSpec(
        architecture="plain-cnn",
        model_args={"num_classes": 10, "in_chans": 1, **model_args},
        input_side=32,
        channels=1,
        mean=(0.3,),
        std=(0.38,),
        class_map=tuple(range(10)),
    )


@pytest.mark.usefixtures("installed")
def test_builds_from_its_checkpoint() -> None:
    original = create_module("plain-cnn", {"num_classes": 10, "in_chans": 1, "embed_dim": 8}, 32, 1).eval()
    classifier = build(spec(embed_dim=8), original.state_dict(), image_channels=1)
    images = torch.rand(3, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(classifier(images), original((images - 0.3) / 0.38))


@pytest.mark.usefixtures("installed")
def test_its_components_are_read() -> None:
    network = create_module("plain-cnn", spec().model_args, 32, 1)
    anatomy = read_anatomy(network, "plain-cnn", input_side=32, channels=1)
    assert (anatomy.base, anatomy.family) == ("CNN", "plain-cnn")
    assert anatomy.components["Stem layer"] == "3s2"
    assert anatomy.components["Hierarchical structure"] == "Yes"
    assert anatomy.components["Pooling (final)"] == "GAP"


@pytest.mark.usefixtures("installed")
def test_the_catalogue_names_it() -> None:
    assert catalogue.find("plain-cnn").installed
    assert "plain-cnn" in catalogue.near_matches("plan-cnn")


def test_it_is_unknown_where_it_is_not_installed() -> None:
    assert "plain-cnn" not in catalogue.names()
