"""/models: registering, looking, fetching, deleting."""

import json
import zipfile
from hashlib import sha256
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from httpx import Response
from safetensors.numpy import load, save
from sqlalchemy import func, select

from registry.reads.models import _flags
from registry.reads.solo import Share
from registry.tables import ArtifactRow, JobKind, JobRow, JobState, ModelRow, ModelState
from registry.wanting import want
from tests.api.conftest import Api, eventually
from tests.api.world import World

METADATA = {
    "name": "resnet-a",
    "architecture": "test_resnet",
    "model_args": {"in_chans": 1},
    "input": {"size": 32, "channels": 1, "mean": [0.5], "std": [0.25]},
    "classes": ["no", "yes"],
    "tags": ["baseline"],
    "expected_accuracy": 0.9,
}
CHECKPOINT = save({"head.weight": np.ones((2, 4), dtype=np.float32)})


def register(api: Api, checkpoint: bytes = CHECKPOINT, **changes: object) -> Response:
    return api.post(
        "/models",
        data={"metadata": json.dumps(METADATA | changes)},
        files={"checkpoint": ("a.safetensors", checkpoint)},
    )


def test_a_checkpoint_is_accepted_and_can_be_looked_at_at_once(api: Api, world: World) -> None:
    answer = register(api, description="the first", license="MIT")
    assert answer.status_code == 202
    assert answer.headers["location"] == "/models/resnet-a"
    assert answer.headers["retry-after"] == "1"
    model = api.get("/models/resnet-a", settle=False).json()
    assert model == answer.json()
    assert (model["state"], model["progress"]["stage"], model["source"]) == ("received", "preparing", "upload")
    assert (model["input"], model["task"]) == (METADATA["input"], {"name": "yes-no", "classes": 2})
    assert (model["description"], model["license"], model["tags"]) == ("the first", "MIT", ["baseline"])
    with world.sessions() as session:
        job = session.scalars(select(JobRow)).one()
        assert (job.kind, job.state) == (JobKind.PREPARE, JobState.QUEUED)


def test_the_bytes_come_back_as_they_were_sent(api: Api, world: World) -> None:
    register(api)
    answer = api.get("/models/resnet-a/checkpoint")
    assert answer.content == CHECKPOINT
    assert answer.headers["content-type"] == "application/octet-stream"
    assert 'filename="resnet-a.safetensors"' in answer.headers["content-disposition"]
    assert load(answer.content)["head.weight"].shape == (2, 4)
    again = api.get("/models/resnet-a/checkpoint", headers={"If-None-Match": answer.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    part = api.get("/models/resnet-a/checkpoint", headers={"Range": "bytes=0-7"})
    assert (part.status_code, part.content) == (206, CHECKPOINT[:8])


def test_the_same_again_is_harmless_and_other_content_is_a_conflict(api: Api, world: World) -> None:
    first = register(api)
    again = register(api)
    assert (again.status_code, again.json()) == (202, first.json())
    other = register(api, save({"head.weight": np.zeros((2, 4), dtype=np.float32)}))
    assert other.status_code == 409
    assert "choose another name" in other.json()["detail"]
    with world.sessions() as session:
        assert session.scalar(select(func.count()).select_from(ModelRow)) == 1


def test_pretrained_weights_are_asked_for_in_json(api: Api, world: World) -> None:
    body = {"name": "hub", "architecture": "resnet18", "pretrained": "a1_in1k", "classes": ["no", "yes"]}
    answer = api.post("/models", json=body)
    assert answer.status_code == 202
    model = answer.json()
    assert (model["source"], model["pretrained"], model["input"]) == ("pretrained", "a1_in1k", None)
    waiting = api.get("/models/hub/checkpoint")
    assert (waiting.status_code, waiting.headers["retry-after"]) == (409, "1")


def test_json_without_a_tag_and_a_form_with_one_are_told_what_to_send(api: Api, world: World) -> None:
    for answer in (api.post("/models", json=METADATA), register(api, pretrained="r160_in1k", model_args={})):
        assert answer.status_code == 422
        assert "form field `checkpoint`" in answer.json()["detail"]


def test_an_unknown_architecture_and_foreign_classes_are_422(api: Api, world: World) -> None:
    unknown = register(api, architecture="hf-hub:someone/something")
    assert unknown.status_code == 422
    assert "hf-hub:someone/something" in unknown.json()["detail"]
    foreign = register(api, classes=["cat", "dog"])
    assert foreign.status_code == 422
    assert foreign.json()["classes"]["model"] == ["cat", "dog"]
    assert foreign.json()["classes"]["task"] == ["no", "yes"]


def test_every_mistake_in_the_metadata_is_named(api: Api, world: World) -> None:
    answer = register(api, name="no spaces", colour="red", expected_accuracy=2)
    assert answer.status_code == 422
    assert {error["where"] for error in answer.json()["errors"]} == {"name", "colour", "expected_accuracy"}
    assert "colour: there is no such field" in answer.json()["detail"]


def test_a_model_shows_what_is_known_of_it(api: Api, zoo: World) -> None:
    model = api.get("/models/resnet-a").json()
    network = zoo.networks["resnet-a"]
    for part, correct in zoo.correct[network].items():
        assert model["accuracies"][part] == {"correct": correct.sum(), "n": len(correct), "rate": correct.mean()}
    assert model["accuracy"] == model["accuracies"]["select"]["rate"]
    assert model["noise"]["fooled"] == zoo.noise[network].sum()
    assert (model["base"], model["family"], model["gmacs"]) == ("CNN", "resnet", 0.002)
    assert model["progress"] == {
        "stage": "measured",
        "reason": None,
        "pairs_measured": 5,
        "pairs": 5,
        "cells_measured": 20,
        "cells": 20,
        "complete": True,
        "prefix_complete": True,
        "fraction": 1.0,
    }
    assert model["links"] == {
        "self": "/models/resnet-a",
        "similar": "/similar/resnet-a",
        "checkpoint": "/models/resnet-a/checkpoint",
        "card": "/models/resnet-a/card",
        "events": "/models/resnet-a/events",
    }
    for link in (model["links"]["self"], model["links"]["similar"]):
        assert api.get(link).status_code == 200


def test_low_self_fooling_and_much_noise_are_flagged(api: Api, world: World) -> None:
    network = world.add_model("resnet-a", attacked=False, accuracy=1)
    world.noise[network] = np.arange(40) % 4 == 0
    world.attack(network, fools=0.5)
    flags = " ".join(api.get("/models/resnet-a").json()["flags"])
    assert "self-fooling below 95 %" in flags
    assert "noise rate above 10 %" in flags


def test_low_self_fooling_and_high_noise_are_told_from_their_bounds_on() -> None:
    low, noisy = (
        "self-fooling below 95 %: its scores understate similarity",
        "noise rate above 10 %: part of what fools it is not the attack",
    )
    assert _flags(Share(949, 1000), Share(101, 1000)) == [low, noisy]
    assert _flags(Share(950, 1000), Share(100, 1000)) == []
    assert _flags(Share(0, 1000), None) == [low]
    assert _flags(None, None) == []


def test_progress_goes_through_its_stages(api: Api, world: World) -> None:
    other = world.add_model("vit-a")

    def progress() -> dict[str, object]:
        answer: dict[str, object] = api.get("/models/resnet-a").json()["progress"]
        return answer

    world.add_received("resnet-a")
    assert progress()["stage"] == "preparing"
    network = world.prepare("resnet-a")
    assert progress()["stage"] == "evaluating"
    world.evaluate(network)
    assert progress()["stage"] == "attacking"
    world.attack(network, rungs=(0,))
    assert progress()["stage"] == "transferring"
    world.transfer(network, other, 0)
    assert (progress()["cells_measured"], progress()["pairs_measured"]) == (1, 0)
    assert progress()["prefix_complete"] is False
    world.transfer(other, network, 0)
    assert (progress()["pairs_measured"], progress()["prefix_complete"], progress()["complete"]) == (1, True, False)
    world.attack(network, rungs=(1,))
    world.transfer(network, other, 1)
    world.refuse(other, network, 1)
    assert (progress()["stage"], progress()["complete"], progress()["fraction"]) == ("measured", True, 1.0)


def test_a_job_that_failed_shows_in_the_progress_until_it_is_tried_again(api: Api, zoo: World) -> None:
    network = zoo.add_model("vit-new")
    for kind, failure in ((JobKind.TRANSFERS, "out of memory."), (JobKind.ATTACK, "no gradient.")):
        zoo.end_job(kind, network, failure)
        # nothing but the job's row says so: no version is raised
        progress = eventually(api, "/models/vit-new", lambda model, what=failure: what in str(model["progress"]))
        assert progress["progress"]["stage"] == "failed"
        assert progress["state"] == "ready"
    assert progress["progress"]["reason"] == "its attack failed: no gradient."
    listed = {model["name"]: model["progress"] for model in api.get("/models").json()["items"]}
    assert listed["vit-new"]["stage"] == "failed"
    assert (listed["vit-a"]["stage"], listed["vit-a"]["reason"]) == ("transferring", None)
    with zoo.sessions.begin() as session:
        for kind in (JobKind.TRANSFERS, JobKind.ATTACK):
            want(session, kind, network_id=network, comparison_id=zoo.comparison_id)
    after = api.get("/models/vit-new").json()["progress"]
    assert (after["stage"], after["reason"]) == ("transferring", None)


def test_a_failure_in_one_comparison_is_none_in_another(api: Api, zoo: World) -> None:
    zoo.add_comparison("other", default=False)
    network = zoo.add_model("vit-new")
    zoo.end_job(JobKind.ATTACK, network, "no gradient.")
    assert api.get("/models/vit-new").json()["progress"]["stage"] == "evaluating"
    other = api.get("/models/vit-new?image_set=other").json()["progress"]
    assert (other["stage"], other["reason"]) == ("failed", "its attack failed: no gradient.")
    zoo.end_job(JobKind.EVALUATE, zoo.networks["vit-a"], "it answers NaN.")
    here = eventually(api, "/models/vit-a?image_set=other", lambda model: model["progress"]["stage"] == "failed")
    assert here["progress"]["reason"] == "it cannot be evaluated: it answers NaN."
    assert api.get("/models/vit-a").json()["progress"]["stage"] != "failed"


def test_refused_cells_are_counted_with_the_reason_of_the_first(api: Api, world: World) -> None:
    a, b, c = (world.add_model(name) for name in ("vit-a", "vit-b", "vit-c"))
    world.refuse(a, b)
    world.refuse(c, a)
    reason = "2 of its cells could not be measured, the first because: its images are lost."
    assert api.get("/models/vit-a").json()["progress"]["reason"] == reason
    assert api.get("/models/vit-b").json()["progress"]["reason"] == reason.replace("2 of", "1 of")
    world.end_job(JobKind.TRANSFERS, a, "out of memory.")
    both = api.get("/models/vit-a").json()["progress"]["reason"]
    assert both == f"the attacks of others on it failed: out of memory. {reason}"
    world.add_model("broken", state=ModelState.FAILED)
    assert api.get("/models/broken").json()["progress"]["reason"] == "it broke."


def test_without_any_comparison_a_model_waits_for_an_image_set(api: Api, zoo: World) -> None:
    zoo.add_task("colours", ["red", "green"])
    zoo.add_received("painter")
    assert api.get("/models/painter").json()["progress"]["stage"] == "preparing"
    zoo.prepare("painter")
    painter = api.get("/models/painter").json()
    assert (painter["progress"]["stage"], painter["task"]["name"]) == ("waiting for an image set", "colours")


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("state=suspect", ["odd-one"]),
        ("state=ready&family=vit", ["vit-a", "vit-b"]),
        ("base=CNN", ["odd-one", "resnet-a", "resnet-b"]),
        ("architecture=test_mixer", ["mixer-a", "mixer-b"]),
        ("tag=strange", ["odd-one"]),
        ("q=CHAMP", ["odd-one"]),
        ("q=vit-b", ["vit-b"]),
        ("tag=none", []),
    ],
)
def test_lists_can_be_filtered(api: Api, zoo: World, query: str, names: list[str]) -> None:
    zoo.add_model("odd-one", state=ModelState.SUSPECT, tags=("strange",), aliases=("champion",))
    answer = api.get(f"/models?{query}").json()
    assert [model["name"] for model in answer["items"]] == names
    assert answer["total"] == len(names)


@pytest.mark.parametrize("key", ["name", "accuracy", "parameters", "gmacs", "created_at"])
@pytest.mark.parametrize("sign", ["", "-"])
def test_pages_of_any_order_hold_every_model_once(api: Api, zoo: World, key: str, sign: str) -> None:
    for index in range(3):
        zoo.add_received(f"received-{index}")
    path, found = f"/models?sort={sign}{key}&limit=2", []
    while path:
        page = api.get(path).json()
        assert len(page["items"]) <= 2
        found += page["items"]
        path = page["next"]
    assert sorted(model["name"] for model in found) == sorted([*zoo.networks, *(f"received-{i}" for i in range(3))])
    values = [model[key] for model in found if model[key] is not None]
    assert values == sorted(values, reverse=bool(sign))
    assert [model[key] for model in found][: len(values)] == values


def test_a_page_goes_on_where_it_was_though_its_last_model_is_gone(api: Api, zoo: World) -> None:
    page = api.get("/models?limit=3").json()
    assert api.delete(f"/models/{page['items'][-1]['name']}").status_code == 204
    rest = api.get(page["next"]).json()
    assert [model["name"] for model in rest["items"]] == ["resnet-b", "vit-a", "vit-b"]


def test_deleting_frees_the_name_at_once(api: Api, world: World) -> None:
    register(api)
    answer = api.delete("/models/resnet-a")
    assert (answer.status_code, answer.content) == (204, b"")
    assert api.get("/models/resnet-a", settle=False).status_code == 404
    assert api.delete("/models/resnet-a").status_code == 404
    assert register(api, save({"other": np.zeros(3, dtype=np.float32)})).status_code == 202


def test_only_a_failed_model_can_be_tried_again(api: Api, world: World) -> None:
    world.add_model("resnet-a", state=ModelState.FAILED)
    world.add_model("resnet-b")
    answer = api.post("/models/resnet-a/retry")
    assert (answer.status_code, answer.json()["state"], answer.json()["failure"]) == (202, "received", None)
    assert api.post("/models/resnet-b/retry").status_code == 409
    assert api.post("/models/resnet-c/retry").status_code == 404


def test_an_upload_leaves_only_the_artifact(api: Api, world: World, tmp_path: Path) -> None:
    register(api)
    with world.sessions() as session:
        (sha256,) = session.scalars(select(ArtifactRow.sha256).where(ArtifactRow.kind == "checkpoint"))
    files = [path for path in (tmp_path / "artifacts").rglob("*") if path.is_file()]
    assert [path.name for path in files] == [sha256.hex()]


def test_a_pth_file_is_kept_as_it_came_and_not_given_back_before_it_is_converted(api: Api, world: World) -> None:
    file = BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("model/data.pkl", b"")
    answer = register(api, file.getvalue())
    assert answer.status_code == 202, answer.text
    weights = api.get(f"{answer.headers['Location']}/checkpoint")
    assert weights.status_code == 409
    assert "not converted yet" in weights.json()["detail"]
    with world.sessions() as session:
        (artifact,) = session.scalars(select(ArtifactRow).where(ArtifactRow.kind == "checkpoint"))
        assert artifact.sha256 == sha256(file.getvalue()).digest()
