"""/image-sets, /protocols, /comparisons, /jobs and /workers."""

import json
from datetime import timedelta

import numpy as np
import pytest
from httpx import Response
from safetensors.numpy import save
from sqlalchemy import func, select, update

from registry.access import LOCAL
from registry.database import transaction
from registry.jobs import claim
from registry.models import retry_model
from registry.tables import JobKind, JobState, Lane, ModelState, WorkerRow
from registry.wanting import want
from tests.api.conftest import Api
from tests.api.world import World

PIXELS = np.random.default_rng(0).integers(0, 256, (40, 8, 8, 1), dtype=np.uint8)
CONTENT = save({"images": PIXELS, "labels": np.arange(40, dtype=np.int64) % 2})


GENTLE = {"name": "gentle", "epsilon": "1/255", "steps": 3}


def add_images(api: Api, content: bytes = CONTENT, **metadata: object) -> Response:
    form = {"metadata": json.dumps({"name": "small", "classes": ["no", "yes"], **metadata})}
    return api.post("/image-sets", data=form, files={"content": ("small.safetensors", content)})


def test_an_image_set_is_imported_once_and_comes_back(api: Api) -> None:
    answer = add_images(api, description="forty")
    assert answer.status_code == 201
    found = api.get(answer.headers["location"]).json()
    assert found == answer.json()
    assert found["parts"] == {"attack": 28, "select": 6, "report": 6}
    assert found["task"] == {"name": "small", "classes": ["no", "yes"]}
    assert (found["side"], found["channels"], found["prefix"]) == (8, 1, 28)
    again = add_images(api, description="forty")
    assert (again.status_code, again.json()) == (200, found)
    content = api.get(found["links"]["content"])
    assert content.content == CONTENT
    unchanged = api.get(found["links"]["content"], headers={"If-None-Match": content.headers["etag"]})
    assert unchanged.status_code == 304
    assert api.get("/image-sets").json()["items"] == [found]


def test_what_is_no_image_set_is_refused(api: Api) -> None:
    add_images(api)
    other = save({"images": PIXELS, "labels": np.zeros(40, dtype=np.int64)})
    assert add_images(api, other).status_code == 409
    for content, word in (
        (save({"pixels": PIXELS}), "images"),
        (save({"images": PIXELS, "labels": np.full(40, 2)}), "outside"),
        (CONTENT[:-5], "truncated"),
        (b"PK\x03\x04" + b"\0" * 100, "safetensors"),
    ):
        answer = add_images(api, content, name="other")
        assert answer.status_code == 422
        assert word in answer.json()["detail"]
    assert add_images(api, name="other", classes=["one"]).status_code == 422
    missing = api.get("/image-sets/nowhere")
    assert missing.status_code == 404
    assert "small" in missing.json()["detail"]
    assert api.post("/image-sets", json={}).status_code == 415


def test_protocols_are_added_once_by_their_parameters(api: Api, world: World) -> None:
    before = [each["name"] for each in api.get("/protocols").json()["items"]]
    answer = api.post("/protocols", json={"name": "strong", "epsilon": "16/255", "steps": 10})
    assert answer.status_code == 201
    protocol = answer.json()
    assert protocol["parameters"]["epsilon"] == "16/255"
    assert api.post("/protocols", json={"name": "strong", "epsilon": "16/255", "steps": 10}).json() == protocol
    assert api.post("/protocols", json={"name": "strong", "epsilon": "4/255"}).status_code == 409
    for body in ({"name": "x", "epsilon": "9"}, {"name": "x", "attack": "magic"}, {"name": "x", "speed": 1}, {}):
        assert api.post("/protocols", json=body).status_code == 422
    assert [each["name"] for each in api.get("/protocols").json()["items"]] == [*before, "strong"]


def test_the_first_comparison_is_the_default_and_starts_paused(api: Api, world: World) -> None:
    add_images(api)
    assert api.post("/protocols", json=GENTLE).status_code == 201
    answer = api.post("/comparisons", json={"image_set": "small", "protocol": "gentle"})
    assert answer.status_code == 201
    assert answer.json() == {
        "name": "small/gentle",
        "image_set": "small",
        "protocol": "gentle",
        "state": "paused",
        "default": False,
        "version": answer.json()["version"],
        "progress": {"networks": 0, "cells": 0, "cells_measured": 0, "pairs": 0, "pairs_measured": 0},
    }
    assert [each["name"] for each in api.get("/comparisons").json()["items"]] == ["digits/pgd", "small/gentle"]
    changed = api.patch("/comparisons/small/gentle", json={"state": "measuring", "default": True}).json()
    assert (changed["state"], changed["default"]) == ("measuring", True)
    names = [(each["name"], each["default"]) for each in api.get("/comparisons").json()["items"]]
    assert names == [("small/gentle", True), ("digits/pgd", False)]
    assert api.get("/matrix", settle=False).json()["comparison"] == "small/gentle"


def test_an_unknown_comparison_is_404_and_a_wrong_change_422(api: Api, world: World) -> None:
    assert api.post("/protocols", json=GENTLE).status_code == 201
    assert api.post("/comparisons", json={"image_set": "nowhere", "protocol": "pgd"}).status_code == 404
    assert api.post("/comparisons", json={"image_set": "digits", "protocol": "none"}).status_code == 404
    assert api.patch("/comparisons/digits/gentle", json={"state": "paused"}).status_code == 404
    assert api.patch("/comparisons/digits/pgd", json={"state": "broken"}).status_code == 422


def test_a_comparisons_progress_counts_what_is_recorded(api: Api, world: World) -> None:
    a, b, _ = (world.add_model(f"resnet-{each}") for each in "abc")
    world.add_model("resnet-twin", shares="resnet-a")
    world.transfer(a, b, 0)
    world.transfer(b, a, 0)
    world.transfer(a, b, 1)
    (comparison,) = api.get("/comparisons").json()["items"]
    # the pair shows the rungs that both directions have
    assert comparison["progress"] == {"networks": 3, "cells": 12, "cells_measured": 2, "pairs": 3, "pairs_measured": 1}


def test_lists_come_in_pages(api: Api, world: World) -> None:
    for index in range(5):
        assert add_images(api, name=f"set-{index}", seed=index).status_code == 201
    path, names = "/image-sets?limit=2", []
    while path:
        page = api.get(path).json()
        assert page["total"] == 6
        names += [each["name"] for each in page["items"]]
        path = page["next"]
    assert names == ["digits", *(f"set-{index}" for index in range(5))]
    listed = [each["name"] for each in api.get("/protocols?limit=200").json()["items"]]
    path, names = "/protocols?limit=1", []
    while path:
        page = api.get(path).json()
        names += [each["name"] for each in page["items"]]
        path = page["next"]
    assert names == listed
    assert len(set(names)) == len(names)


def test_jobs_say_what_is_done_where(api: Api, zoo: World) -> None:
    network = zoo.networks["vit-a"]
    with transaction(zoo.sessions, lambda _lane: None) as session:
        want(session, JobKind.EVALUATE, network_id=network, comparison_id=zoo.comparison_id)
        want(session, JobKind.TRANSFERS, network_id=network, comparison_id=zoo.comparison_id)
        want(session, JobKind.ANALYSE, comparison_id=zoo.comparison_id)
        claimed = claim(session, (Lane.COMPUTE,), zoo.worker_id, 15)
    assert claimed is not None
    jobs = api.get("/jobs").json()
    assert jobs["counts"] == {"queued": {"analyse": 1, "transfers": 1}, "running": {"evaluate": 1}, "failed": {}}
    running = next(job for job in jobs["items"] if job["state"] == "running")
    assert (running["kind"], running["model"], running["comparison"]) == ("evaluate", "vit-a", "digits/pgd")
    assert running["worker"] == "here:7"
    assert api.get(f"/models/{running['network']}").json()["name"] == "vit-a"
    assert [job["kind"] for job in api.get("/jobs?state=queued").json()["items"]] == ["transfers", "analyse"]
    assert api.get("/jobs?kind=analyse").json()["total"] == 1
    first = api.get("/jobs?limit=2").json()
    assert [job["kind"] for job in first["items"] + api.get(first["next"]).json()["items"]] == [
        "evaluate",
        "transfers",
        "analyse",
    ]
    (worker,) = api.get("/workers").json()["items"]
    assert worker["job"] == {"id": running["id"], "kind": "evaluate", "model": "vit-a"}
    assert (worker["alive"], worker["lanes"]) == (True, ["compute", "light"])
    assert api.get("/jobs?state=asleep").status_code == 422


def test_a_job_that_waits_to_be_tried_again_says_why(api: Api, zoo: World) -> None:
    zoo.end_job(JobKind.ATTACK, zoo.networks["vit-a"], "the store is away.", JobState.QUEUED)
    zoo.end_job(JobKind.TRANSFERS, zoo.networks["vit-a"], "out of memory.")
    jobs = api.get("/jobs").json()["items"]
    assert {(job["state"], job["failure"]) for job in jobs} == {
        ("queued", "the store is away."),
        ("failed", "out of memory."),
    }
    assert api.get("/models/vit-a").json()["progress"]["stage"] == "measured"  # nothing is left to measure


def test_comparisons_are_counted_without_being_held(api: Api, zoo: World) -> None:
    held = api.get("/comparisons").json()["items"][0]["progress"]
    first = zoo.comparison_id
    zoo.add_comparison("other", default=False)
    for name in ("vit-a", "vit-b", "mixer-a"):
        zoo.evaluate(zoo.networks[name])
        zoo.attack(zoo.networks[name])
    a, b, c = (zoo.networks[name] for name in ("vit-a", "vit-b", "mixer-a"))
    zoo.transfer(a, b, 0)
    zoo.transfer(b, a, 0)
    zoo.transfer(a, b, 1)
    zoo.transfer(b, c, 0)
    one, other = api.get("/comparisons").json()["items"]
    assert set(api.app.state.services.watch.view().snapshots) == {first}
    assert one["progress"] == held
    assert other["progress"] == {"networks": 6, "cells": 60, "cells_measured": 3, "pairs": 15, "pairs_measured": 1}
    # what is counted is what a snapshot says
    assert api.get("/matrix?image_set=other").status_code == 200
    assert set(api.app.state.services.watch.view().snapshots) == {first, zoo.comparison_id}
    assert api.get("/comparisons").json()["items"][1] == other
    zoo.transfer(c, b, 0)
    assert api.get("/comparisons").json()["items"][1]["progress"]["pairs_measured"] == 2


def test_the_count_follows_the_version(api: Api, zoo: World) -> None:
    zoo.add_comparison("other", default=False)
    assert api.get("/comparisons").json()["items"][1]["progress"]["networks"] == 6
    assert api.delete("/models/vit-a").status_code == 204
    assert api.get("/comparisons").json()["items"][1]["progress"]["networks"] == 5


def test_the_time_left_is_that_of_every_comparison_that_measures(api: Api, zoo: World) -> None:
    assert api.get("/jobs").json()["estimate_seconds"] == 0
    zoo.add_comparison("other", default=False)
    assert api.get("/jobs").json()["estimate_seconds"] is None  # much is left, and nothing was measured lately


def test_a_worker_that_went_silent_is_not_alive(api: Api, world: World) -> None:
    with world.sessions.begin() as session:
        session.execute(update(WorkerRow).values(seen_at=func.now() - timedelta(seconds=60)))
    (worker,) = api.get("/workers").json()["items"]
    assert (worker["alive"], worker["job"]) == (False, None)


def test_a_prepare_job_names_its_model(api: Api, world: World) -> None:
    world.add_model("resnet-a", state=ModelState.FAILED)
    with transaction(world.sessions, lambda _lane: None) as session:
        retry_model(session, "resnet-a", actor=LOCAL)
    (job,) = api.get("/jobs?kind=prepare").json()["items"]
    assert (job["model"], job["network"], job["comparison"]) == ("resnet-a", None, None)


def test_the_time_left_is_told_when_nothing_is_left(api: Api, zoo: World) -> None:
    assert api.get("/jobs").json()["estimate_seconds"] == 0
    zoo.add_model("vit-new")
    assert api.get("/jobs").json()["estimate_seconds"] is None  # nothing was measured lately


def test_without_any_comparison_reads_say_what_to_do_first(api: Api) -> None:
    for path in ("/matrix", "/clusters", "/recommend/ensemble", "/similar/a", "/pairs/a/b"):
        answer = api.get(path)
        assert answer.status_code == 404
        assert "POST /comparisons" in answer.json()["detail"]
    for path in ("/models", "/comparisons", "/image-sets", "/jobs", "/workers"):
        answer = api.get(path)
        assert (answer.status_code, answer.json()["total"]) == (200, 0)


@pytest.mark.parametrize("path", ["/models", "/image-sets", "/protocols", "/comparisons", "/jobs", "/workers"])
@pytest.mark.parametrize("query", ["limit=0", "limit=201", "cursor=%00", "cursor=bm90IGpzb24"])
def test_a_page_that_cannot_be_is_422(api: Api, path: str, query: str) -> None:
    assert api.get(f"{path}?{query}").status_code == 422


def test_a_name_that_somebody_else_took_meanwhile_is_seen(api: Api, world: World) -> None:
    assert api.get("/models").json()["total"] == 0
    world.add_model("resnet-a")
    assert api.get("/models/resnet-a", settle=False).status_code == 200
    with world.sessions() as session:
        assert session.scalar(select(func.count()).select_from(WorkerRow)) == 1
