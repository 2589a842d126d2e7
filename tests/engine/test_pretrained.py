"""Pretrained weights come from a hub with their own head, or not at all and soon."""

import json
import os
import subprocess
import sys
from pathlib import Path
from time import perf_counter
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import sat_engine.io.pretrained
from sat_engine import networks
from sat_engine.networks import NetworkSpec
from tests.hub import NAME, TAG, Hub

FETCH = """
import json, sys
from pathlib import Path
from safetensors.torch import save_file
from sat_engine.errors import EngineError
from sat_engine.io.pretrained import fetch
try:
    found = fetch(sys.argv[1], sys.argv[2])
except EngineError as error:
    print(json.dumps({"error": type(error).__name__, "said": str(error)}))
else:
    save_file({name: tensor.contiguous() for name, tensor in found.tensors.items()}, sys.argv[3])
    names = ("model_args", "input_side", "channels", "mean", "std", "num_classes", "class_names", "license")
    print(json.dumps({name: getattr(found, name) for name in names}))
"""


def fetched(folder: Path, address: str, name: str = NAME, tag: str = TAG) -> dict[str, Any]:
    """What a process whose hub is at this address fetches; the hub's client reads its settings once, at import."""
    environment = os.environ | {
        "HF_ENDPOINT": address,
        "HF_HOME": str(folder / "cache"),
        "OMP_NUM_THREADS": "1",
        "OMP_WAIT_POLICY": "PASSIVE",
    }
    command = [sys.executable, "-c", FETCH, name, tag, str(folder / "fetched.safetensors")]
    run = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120, check=False)
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout.splitlines()[-1])


def test_weights_come_with_their_own_head_and_preprocessing_and_again_without_the_hub(hub: Hub, tmp_path: Path) -> None:
    found = fetched(tmp_path, hub.address)
    assert found == {
        "model_args": {"num_classes": 10},
        "input_side": 64,
        "channels": 3,
        "mean": [0.1, 0.2, 0.3],
        "std": [0.4, 0.5, 0.6],
        "num_classes": 10,
        "class_names": [f"digit {digit}" for digit in range(10)],
        "license": "apache-2.0",
    }
    served = tmp_path / "served.safetensors"
    served.write_bytes(hub.files["model.safetensors"])
    tensors, original = load_file(tmp_path / "fetched.safetensors"), load_file(served)
    assert set(tensors) == set(original)
    assert all(torch.equal(tensors[name], tensor) for name, tensor in original.items())
    assert not any("pytorch_model" in path for path in hub.asked), "nothing is ever unpickled"
    spec = NetworkSpec(
        architecture=NAME,
        model_args=found["model_args"],
        input_side=64,
        channels=3,
        mean=tuple(found["mean"]),
        std=tuple(found["std"]),
        class_map=tuple(range(10)),
    )
    networks.build(spec, tensors, image_channels=3)

    assert fetched(tmp_path, "http://127.0.0.1:9") == found, "the cache must do while the hub is away"


def test_a_hub_that_cannot_be_reached_is_named_soon(tmp_path: Path) -> None:
    began = perf_counter()
    answer = fetched(tmp_path, "http://127.0.0.1:9")
    assert perf_counter() - began < 20, "retries would take minutes"
    assert answer["error"] == "PretrainedUnavailableError"
    assert "http://127.0.0.1:9 cannot be reached" in answer["said"]
    assert "HF_ENDPOINT" in answer["said"]


def test_a_hub_without_safetensors_is_told_apart_from_one_away(hub: Hub, tmp_path: Path) -> None:
    del hub.files["model.safetensors"]
    answer = fetched(tmp_path, hub.address)
    assert answer["error"] == "PretrainedUnavailableError"
    assert f"does not give timm/{NAME}.{TAG}/model.safetensors" in answer["said"]


def test_a_head_that_does_not_fit_the_hub_s_own_config_is_refused(hub: Hub, tmp_path: Path) -> None:
    hub.files["config.json"] = hub.files["config.json"].replace(b'"num_classes": 10', b'"num_classes": 7')
    answer = fetched(tmp_path, hub.address)
    assert answer["error"] == "CheckpointError"
    assert "do not make a network" in answer["said"]


@pytest.mark.parametrize(
    ("name", "tag", "said"),
    [
        (NAME, "no_such_tag", f"its tags are: .*{TAG}"),
        ("hf-hub:timm/x", TAG, "tags are: none"),
        (NAME, "../x", "its tags are"),
    ],
)
def test_tags_come_from_timm_s_list(name: str, tag: str, said: str, hub: Hub, tmp_path: Path) -> None:
    from sat_engine.errors import ArchitectureError
    from sat_engine.io.pretrained import fetch

    with pytest.raises(ArchitectureError, match=said):
        fetch(name, tag)


def test_a_pretrained_network_names_its_outputs_as_imagenet_s_folders_are_called(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Without a hub: its answer is a network of as many outputs as ImageNet has classes."""
    for classes, first in ((1000, "n01440764"), (10, None)):
        module = networks.create_module("test_vit2", {"num_classes": classes}, 64, 3)
        module.pretrained_cfg = {
            "input_size": (3, 64, 64), "num_classes": classes, "mean": (0.5,) * 3, "std": (0.5,) * 3,
        }  # fmt: skip
        module.pretrained_model_args = {}
        monkeypatch.setattr(sat_engine.io.pretrained, "_require_files", lambda _: None)
        monkeypatch.setattr(sat_engine.io.pretrained, "_load", lambda *_, module=module: module)
        found = networks.pretrained("test_vit2.r160_in1k").class_names
        assert (found and (len(found), found[0])) == (first and (classes, first))
