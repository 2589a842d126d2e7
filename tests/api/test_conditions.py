"""If-Match on everything that can be changed: a change from an old reading is refused, measuring is no change."""

from collections.abc import Callable

import pytest
from httpx import Response
from sqlalchemy import select

from registry.settings import Settings
from registry.tables import WorkerRow
from tests.api.conftest import Api
from tests.api.world import World

Change = Callable[[Api, str, str], Response]


def put(model: str) -> Change:
    return lambda api, path, tag: api.put(path, json={"model": model}, headers={"If-Match": tag})


def patch(body: dict[str, str]) -> Change:
    return lambda api, path, tag: api.patch(path, json=body, headers={"If-Match": tag})


def delete(api: Api, path: str, tag: str) -> Response:
    return api.delete(path, headers={"If-Match": tag})


@pytest.mark.parametrize(
    ("path", "theirs", "mine"),
    [
        ("/aliases/champion", put("vit-a"), put("mixer-a")),
        ("/aliases/champion", put("vit-a"), delete),
        ("/comparisons/digits/pgd", patch({"state": "draining"}), patch({"state": "paused"})),
        ("/workers/1", patch({"wish": "pause"}), patch({"wish": "drain"})),
    ],
)
def test_a_change_from_an_old_reading_is_refused(api: Api, zoo: World, path: str, theirs: Change, mine: Change) -> None:
    api.put("/aliases/champion", json={"model": "resnet-a"})
    before = api.get(path).headers["etag"]
    changed = theirs(api, path, before)
    assert changed.status_code == 200
    assert mine(api, path, before).status_code == 412
    assert mine(api, path, f"W/{changed.headers['etag']}").status_code == 412
    now = api.get(path).headers["etag"]
    assert now.partition("-")[0] == changed.headers["etag"].partition("-")[0] != before.partition("-")[0]
    assert mine(api, path, f'"other", {now}').status_code in {200, 204}


def test_measuring_changes_no_comparison(api: Api, zoo: World) -> None:
    before = api.get("/comparisons/digits/pgd").headers["etag"]
    zoo.add_model("vit-new")
    assert api.get("/comparisons/digits/pgd", headers={"If-None-Match": before}).status_code == 200
    assert patch({"state": "paused"})(api, "/comparisons/digits/pgd", before).status_code == 200


def test_a_new_alias_was_seen_by_nobody(api: Api, zoo: World) -> None:
    assert put("vit-a")(api, "/aliases/champion", '"0123"').status_code == 412
    assert api.get("/aliases/champion").status_code == 404


def test_a_webhook_is_deleted_as_it_was_seen(start: Callable[..., Api], settings: Settings, zoo: World) -> None:
    api = start(webhook_hosts=("hooks.example.com",))
    made = api.post("/webhooks", json={"url": "https://hooks.example.com/sat"})
    path = made.headers["location"]
    assert delete(api, path, '"0123"').status_code == 412
    assert delete(api, path, api.get(path).headers["etag"]).status_code == 204
    assert api.get(path).status_code == 404


def test_one_worker_is_shown(api: Api, zoo: World) -> None:
    with zoo.sessions() as session:
        worker = session.scalars(select(WorkerRow.id)).one()
    assert api.get(f"/workers/{worker}").json() == api.get("/workers").json()["items"][0]
    assert api.get("/workers/99").status_code == 404
