"""What a team has under way and is told is its own: another team's key neither sees nor changes it."""

from collections.abc import Callable

import pytest

from registry.settings import KeyMode
from registry.tables import Scope
from tests.api.callers import bearer, make_key
from tests.api.conftest import Api
from tests.api.test_models import CHECKPOINT, METADATA
from tests.api.test_resumable import PIECE
from tests.api.world import World

Keys = dict[str, dict[str, str]]


@pytest.fixture
def guarded(start: Callable[..., Api]) -> Api:
    """An app that asks for keys and tells webhooks."""
    return start(keys=KeyMode.REQUIRED, webhook_hosts=("hooks.example.com",))


@pytest.fixture
def keys(world: World) -> Keys:
    """The headers of two teams' writers and of an administrator of a third."""
    return {
        name: bearer(make_key(world.sessions, name, scope, team=name))
        for name, scope in (("mine", Scope.WRITE), ("foreign", Scope.WRITE), ("admin", Scope.ADMIN))
    }


def test_an_upload_belongs_to_the_team_that_began_it(guarded: Api, keys: Keys) -> None:
    path = guarded.post("/uploads", json={"bytes": len(CHECKPOINT)}, headers=keys["mine"]).headers["location"]
    declared = METADATA | {"upload": path.rpartition("/")[2]}
    first = PIECE | {"Upload-Offset": "0"}
    foreign = keys["foreign"]
    assert guarded.get(path, headers=foreign).status_code == 403
    assert guarded.patch(path, content=b"x", headers=first | foreign).status_code == 403
    assert guarded.delete(path, headers=foreign).status_code == 403
    assert guarded.get(path, headers=keys["mine"]).json()["offset"] == 0
    assert guarded.patch(path, content=CHECKPOINT, headers=first | keys["mine"]).status_code == 200
    assert guarded.post("/models", json=declared, headers=foreign).status_code == 403
    assert guarded.get(path, headers=keys["admin"]).json()["complete"] is True
    answer = guarded.post("/models", json=declared, headers=keys["mine"])
    assert (answer.status_code, answer.json()["owner"]) == (202, "mine")


def test_a_webhook_belongs_to_the_team_that_made_it(guarded: Api, keys: Keys) -> None:
    body = {"url": "https://hooks.example.com/a", "events": ["model.measured"]}
    made = guarded.post("/webhooks", json=body, headers=keys["mine"]).json()
    path, foreign = f"/webhooks/{made['id']}", keys["foreign"]
    assert guarded.get("/webhooks", headers=foreign).json() | {"next": None} == {"items": [], "next": None, "total": 0}
    for answer in (
        guarded.get(path, headers=foreign),
        guarded.get(f"{path}/deliveries", headers=foreign),
        guarded.delete(path, headers=foreign),
    ):
        assert answer.status_code in {403, 404}, answer.text
        assert "hooks.example.com" not in answer.text
    assert guarded.get(path, headers=keys["mine"]).json()["url"] == body["url"]
    assert guarded.get(path, headers=keys["admin"]).status_code == 200
    assert guarded.delete(path, headers=keys["mine"]).status_code == 204
