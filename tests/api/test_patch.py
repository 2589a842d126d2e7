"""Changing, deleting and restoring models: nobody undoes another's change unseen, and nothing is lost by a slip."""

from collections.abc import Callable
from typing import Any

import pytest
from httpx import Response
from sqlalchemy import select

from registry.access import Actor
from registry.errors import ForbiddenError
from registry.restoring import restore_model
from registry.tables import AuditRow, JobKind, JobRow, JobState, ModelRow, ModelState, NameRow, Scope
from tests.api.conftest import Api
from tests.api.test_models import register
from tests.api.world import World


def tag(api: Api, name: str = "resnet-a") -> str:
    return api.get(f"/models/{name}").headers["etag"]


def patch(api: Api, body: object, if_match: str | None = "*", name: str = "resnet-a") -> Response:
    headers = {} if if_match is None else {"If-Match": if_match}
    return api.patch(f"/models/{name}", json=body, headers=headers)


def test_what_describes_a_model_can_be_changed(api: Api, zoo: World) -> None:
    before = api.get("/models/resnet-a").json()
    change = {"description": "the first", "tags": ["a", "b"], "license": "MIT", "expected_accuracy": 0.9}
    answer = patch(api, change | {"card": "# A"}, tag(api))
    assert answer.status_code == 200
    model = answer.json()
    assert {field: model[field] for field in change} == change
    assert model["revision"] == before["revision"] + 1
    assert answer.headers["etag"] == tag(api)
    assert api.get("/models?tag=b", settle=False).json()["total"] == 1
    assert {name: model[name] for name in ("digest", "accuracies", "created_at")} == {
        name: before[name] for name in ("digest", "accuracies", "created_at")
    }
    # what is left out stays, and null takes back
    after = patch(api, {"license": None, "expected_accuracy": None}, tag(api)).json()
    assert (after["description"], after["license"], after["expected_accuracy"]) == ("the first", None, None)


def test_a_change_from_an_old_reading_is_refused(api: Api, zoo: World) -> None:
    mine = tag(api)
    assert patch(api, {"description": "theirs"}, mine).status_code == 200
    stale = patch(api, {"description": "mine"}, mine)
    assert stale.status_code == 412
    assert "Read it again" in stale.json()["detail"]
    for wrong in ('"0"', '"nonsense"', "nonsense", ""):
        assert patch(api, {"description": "mine"}, wrong).status_code == 412
    assert api.get("/models/resnet-a").json()["description"] == "theirs"
    assert patch(api, {"description": "mine"}, f'"7", {tag(api)}').status_code == 200


def test_a_weak_tag_never_matches_and_every_line_counts(api: Api, zoo: World) -> None:
    assert patch(api, {"description": "mine"}, f"W/{tag(api)}").status_code == 412
    lines = [("If-Match", '"7"'), ("If-Match", tag(api))]
    assert api.patch("/models/resnet-a", json={"description": "mine"}, headers=lines).status_code == 200


def test_a_later_model_of_the_same_name_is_another(api: Api, zoo: World) -> None:
    mine = tag(api)
    assert api.delete("/models/resnet-a", headers={"If-Match": mine}).status_code == 204
    zoo.add_received("resnet-a")
    assert api.get("/models/resnet-a").json()["revision"] == 1
    assert api.delete("/models/resnet-a", headers={"If-Match": mine}).status_code == 412
    assert api.delete("/models/resnet-a", headers={"If-Match": '"1"'}).status_code == 204


def test_a_change_must_say_what_it_was_made_from(api: Api, zoo: World) -> None:
    refused = patch(api, {"description": "mine"}, None)
    assert refused.status_code == 428
    assert "If-Match" in refused.json()["detail"]


def test_measuring_is_no_change_that_anybody_made(api: Api, zoo: World) -> None:
    before = tag(api)
    zoo.add_model("vit-new")  # one pair more to measure: another answer, the same revision
    after = tag(api)
    assert before != after
    assert api.get("/models/resnet-a", headers={"If-None-Match": before}).status_code == 200
    assert api.get("/models/resnet-a", headers={"If-None-Match": after}).status_code == 304
    assert patch(api, {"description": "mine"}, before).status_code == 200


def test_what_cannot_be_changed_is_said(api: Api, zoo: World) -> None:
    for body in (
        {},
        {"name": "other"},
        {"tags": None},
        {"state": "failed"},
        {"state": None},
        {"last_rung": 2},
        {"last_rung": False},
        {"expected_accuracy": 1.5},
        {"description": "\0"},
        {"card": "x" * 100_001},
        [],
    ):
        answer = patch(api, body)
        assert answer.status_code == 422, str(body)[:50]
        assert answer.json()["detail"]
    assert api.get("/models/resnet-a").json()["revision"] == 1


def test_archiving_keeps_the_scores_and_can_be_taken_back(api: Api, zoo: World) -> None:
    near = api.get("/similar/resnet-a").json()["items"]
    archived = patch(api, {"state": "archived"}, tag(api)).json()
    assert (archived["state"], archived["progress"]["stage"]) == ("archived", "archived")
    assert [model["name"] for model in api.get("/models?state=archived").json()["items"]] == ["resnet-a"]
    assert api.get("/similar/resnet-a").json()["items"] == near
    assert patch(api, {"state": "ready"}, tag(api)).json()["state"] == "ready"
    zoo.add_model("broken", state=ModelState.FAILED)
    refused = patch(api, {"state": "ready"}, name="broken")
    assert refused.status_code == 422
    assert "retry" in refused.json()["detail"]


def test_a_stale_change_archives_nothing(api: Api, zoo: World) -> None:
    assert patch(api, {"state": "archived"}, '"99"').status_code == 412
    assert api.get("/models/resnet-a").json()["state"] == "ready"


def test_the_last_rung_can_be_chosen_later(api: Api, zoo: World) -> None:
    assert patch(api, {"last_rung": 0}, tag(api)).json()["last_rung"] == 0
    assert patch(api, {"last_rung": 1}, tag(api)).json()["last_rung"] == 1
    with zoo.sessions() as session:
        job = session.scalars(select(JobRow).where(JobRow.network_id == zoo.networks["resnet-a"])).one()
    assert (job.kind, job.state) == (JobKind.EVALUATE, JobState.QUEUED)


def test_an_expectation_judges_at_once(api: Api, zoo: World) -> None:
    assert patch(api, {"expected_accuracy": 0.1}).json()["state"] == "suspect"
    refused = patch(api, {"state": "ready"})
    assert refused.status_code == 409
    assert "expected_accuracy" in refused.json()["detail"]
    assert patch(api, {"expected_accuracy": None}).json()["state"] == "ready"


def test_deleting_takes_if_match_too(api: Api, zoo: World) -> None:
    mine = tag(api)
    patch(api, {"description": "theirs"})
    assert api.delete("/models/resnet-a", headers={"If-Match": mine}).status_code == 412
    assert api.get("/models/resnet-a").status_code == 200
    assert api.delete("/models/resnet-a", headers={"If-Match": tag(api)}).status_code == 204
    assert api.delete("/models/resnet-b").status_code == 204


def test_a_deleted_model_comes_back_with_its_results(api: Api, zoo: World) -> None:
    pair = api.get("/pairs/resnet-a/vit-a").json()
    assert api.delete("/models/resnet-a").status_code == 204
    assert api.get("/pairs/resnet-a/vit-a").status_code == 404
    (gone,) = api.get("/models?deleted=true").json()["items"]
    assert (gone["name"], gone["deleted_at"] is None) == ("resnet-a", False)
    assert "resnet-a" not in {model["name"] for model in api.get("/models").json()["items"]}
    answer = api.post(f"/models/{gone['reference']}/restore")
    assert (answer.status_code, answer.headers["location"]) == (202, "/models/resnet-a")
    assert answer.json()["deleted_at"] is None
    back = api.get("/pairs/resnet-a/vit-a").json()
    assert {name: back[name] for name in ("sat", "n", "fooled")} == {
        name: pair[name] for name in ("sat", "n", "fooled")
    }
    assert api.get("/models?deleted=true").json()["total"] == 0


def test_restoring_goes_on_with_what_is_missing(api: Api, zoo: World) -> None:
    register(api, name="waiting")
    assert api.delete("/models/waiting").status_code == 204
    assert api.delete("/models/resnet-a").status_code == 204
    zoo.add_model("vit-new")
    assert api.post("/models/waiting/restore").status_code == 202
    assert api.post("/models/resnet-a/restore").status_code == 202
    with zoo.sessions() as session:
        rows = session.execute(select(JobRow.kind, JobRow.network_id).where(JobRow.state == JobState.QUEUED))
        queued = {(row.kind, row.network_id) for row in rows}
    # the evaluation's end asks for what the restored model and the newcomer lack of each other (test_meetings.py)
    assert {(JobKind.PREPARE, None), (JobKind.EVALUATE, zoo.networks["resnet-a"])} <= queued


def test_a_taken_name_is_in_the_way_of_restoring(api: Api, zoo: World) -> None:
    api.delete("/models/resnet-a")
    (gone,) = api.get("/models?deleted=true").json()["items"]
    assert api.put("/aliases/resnet-a", json={"model": "resnet-b"}).status_code == 201
    for reference in ("resnet-a", gone["reference"]):
        refused = api.post(f"/models/{reference}/restore")
        assert refused.status_code == 409
    assert gone["reference"] in refused.json()["detail"]
    api.delete("/aliases/resnet-a")
    assert api.post("/models/resnet-a/restore").status_code == 202


def test_the_last_deleted_of_a_name_comes_back_by_name_and_any_by_reference(api: Api, world: World) -> None:
    for description in ("first", "second"):
        register(api, description=description)
        api.delete("/models/resnet-a")
    listed = api.get("/models?deleted=true&sort=created_at").json()["items"]
    assert [model["name"] for model in listed] == ["resnet-a", "resnet-a"]
    assert api.post("/models/resnet-a/restore").json()["description"] == "second"
    api.delete("/models/resnet-a")
    assert api.post(f"/models/{listed[0]['reference']}/restore").json()["description"] == "first"


def test_what_cannot_be_restored_is_said(api: Api, zoo: World) -> None:
    assert api.post("/models/resnet-a/restore").status_code == 409
    for reference in ("nobody", "~999999", "~x"):
        answer = api.post(f"/models/{reference}/restore")
        assert answer.status_code == 404
        assert "deleted=true" in answer.json()["detail"]
    api.delete("/models/resnet-a")
    with zoo.sessions.begin() as session:  # as the garbage collector does in the end
        session.delete(session.scalars(select(ModelRow).where(ModelRow.deleted_at.is_not(None))).one())
    assert api.post("/models/resnet-a/restore").status_code == 404


def test_deleted_models_can_be_searched_too(api: Api, zoo: World) -> None:
    for name in ("resnet-a", "vit-a"):
        api.delete(f"/models/{name}")
    found = api.get("/models?deleted=true&q=VIT").json()
    assert ([model["name"] for model in found["items"]], found["total"]) == (["vit-a"], 1)
    assert api.get("/models?deleted=true&family=resnet").json()["total"] == 1


def test_only_the_owner_or_an_administrator_may(api: Api, zoo: World) -> None:
    theirs, stranger = (Actor(name=team, team=team, scope=Scope.WRITE) for team in ("them", "us"))
    with zoo.sessions.begin() as session:
        named = select(NameRow.model_id).where(NameRow.name == "resnet-a").scalar_subquery()
        session.scalars(select(ModelRow).where(ModelRow.id == named)).one().owner = "them"
    api.delete("/models/resnet-a")
    with zoo.sessions() as session, pytest.raises(ForbiddenError, match="them"):
        restore_model(session, "resnet-a", actor=stranger)
    with zoo.sessions.begin() as session:
        assert restore_model(session, "resnet-a", actor=theirs) == "resnet-a"


def test_the_audit_log_tells_who_changed_what(api: Api, zoo: World) -> None:
    patch(api, {"tags": ["x"], "license": "MIT"})
    api.delete("/models/resnet-a")
    api.post("/models/resnet-a/restore", headers={"X-Request-Id": "mine"})
    entries = api.get("/audit?subject=resnet-a").json()
    assert [entry["action"] for entry in entries["items"]] == ["model.restore", "model.delete", "model.change"]
    assert entries["items"][0]["request_id"] == "mine"
    assert entries["items"][2]["detail"] == {"fields": ["license", "tags"]}
    assert {entry["actor"] for entry in entries["items"]} == {"local"}
    first = api.get("/audit?subject=resnet-a&limit=2").json()
    assert [entry["action"] for entry in api.get(first["next"]).json()["items"]] == ["model.change"]
    assert api.get("/audit?action=model.delete").json()["total"] == 1


def test_a_refused_change_leaves_no_trace(api: Api, zoo: World) -> None:
    patch(api, {"tags": ["x"]}, '"99"')
    api.delete("/models/nobody")
    with zoo.sessions() as session:
        assert session.scalars(select(AuditRow)).all() == []


def test_two_who_change_at_once_do_not_both_win(api: Api, zoo: World, together: Callable[..., list[Any]]) -> None:
    mine = tag(api)
    answers = together([lambda text=text: patch(api, {"description": text}, mine) for text in "abcdef"])
    assert sorted(answer.status_code for answer in answers) == [200, 412, 412, 412, 412, 412]
    assert api.get("/models/resnet-a").json()["revision"] == 2
