"""The demo against the real api, up to where workers take over, with its networks left untrained.

The whole way, training and measuring included, is `make demo`: it takes minutes.
"""

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from client.errors import ClientError
from client.registry import Registry
from examples.digits import images
from examples.digits.demo import COMPARISON, PARTS, PREFIX, Clock, register, send_image_set
from examples.digits.zoo import EPSILON, MEMBERS, NAME
from tests.client.conftest import real_url  # noqa: F401 (a fixture)


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A file for each member: without a worker nobody looks into its tensors."""
    folder = tmp_path_factory.mktemp("zoo")
    for number, member in enumerate(MEMBERS):
        save_file({"weight": np.full((8, 8), number, np.float32)}, folder / f"{member.name}.safetensors")
    return {member.name: folder / f"{member.name}.safetensors" for member in MEMBERS}


def test_everything_the_demo_sends_is_taken_and_sending_it_again_changes_nothing(
    real_url: str,  # noqa: F811 (the fixture)
    checkpoints: dict[str, Path],
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    with Registry(real_url) as registry:
        send_image_set(registry)
        register(registry, checkpoints)
        assert f"{len(MEMBERS)} models registered" in capsys.readouterr().out
        before = _state(registry)
        send_image_set(registry)
        register(registry, checkpoints)
        assert f"All {len(MEMBERS)} models are there already." in capsys.readouterr().out
        assert _state(registry) == before

        image_set = registry.image_set(NAME)
        assert (image_set["parts"], image_set["prefix"]) == (PARTS, PREFIX)
        protocol = next(one for one in registry.protocols() if one["name"] == COMPARISON["protocol"])
        assert protocol["parameters"]["epsilon"] == str(EPSILON)
        comparison = registry.comparison(**COMPARISON)
        assert (comparison["state"], comparison["default"]) == ("measuring", True)
        content = load_file(registry.image_set_content(NAME, tmp_path / "digits.safetensors"))
    squares, labels = images.held_out()
    np.testing.assert_array_equal(content["images"], squares)
    np.testing.assert_array_equal(content["labels"], labels)


def test_a_zoo_that_has_changed_says_what_to_delete(
    real_url: str,  # noqa: F811 (the fixture)
    checkpoints: dict[str, Path],
    tmp_path: Path,
) -> None:
    first = MEMBERS[0].name
    save_file({"weight": np.full((8, 8), -1, np.float32)}, tmp_path / "other.safetensors")
    with Registry(real_url) as registry:
        send_image_set(registry)
        register(registry, checkpoints)
        with pytest.raises(ClientError, match=f"sat rm {first}"):
            register(registry, checkpoints | {first: tmp_path / "other.safetensors"})


def _state(registry: Registry) -> object:
    models = [(model["name"], model["created_at"]) for model in registry.models()]
    return models, list(registry.image_sets()), [one["name"] for one in registry.protocols()]


def test_the_clock_names_every_phase(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    with clock.phase("Start: the registry"):
        pass
    with clock.phase("Measure: all"):
        pass
    assert list(clock.seconds) == ["Start: the registry", "Measure: all"]
    assert clock.summary() == "It took 0 s: start 0 s; measure 0 s."
    assert "[2/5] Measure: all" in capsys.readouterr().out
