"""The audit log: who changed what everybody's models are measured on, and by whom."""

from collections.abc import Callable

from registry.database import Sessions
from registry.settings import KeyMode
from registry.tables import Scope
from registry.upkeep.removal import remove_model
from tests.api.callers import make_key, presenting
from tests.api.conftest import Api
from tests.api.test_measuring import GENTLE, add_images
from tests.api.world import World


def test_what_models_are_measured_on_is_changed_under_somebodys_name(
    start: Callable[..., Api], zoo: World, sessions: Sessions
) -> None:
    api = start(keys=KeyMode.REQUIRED)
    with presenting(api, make_key(sessions, "boss", Scope.ADMIN)):
        for _ in range(2):  # the same again changes nothing
            assert add_images(api).status_code in {200, 201}
            assert api.post("/protocols", json=GENTLE).status_code == 201
            wanted = {"image_set": "digits", "protocol": "gentle", "state": "measuring", "default": True}
            assert api.post("/comparisons", json=wanted).status_code == 201
            assert api.patch("/comparisons/digits/pgd", json={"state": "paused"}).status_code == 200
            assert api.patch("/workers/1", json={"wish": "drain"}).status_code == 200
        log = [each for each in api.get("/audit").json()["items"] if each["actor"] == "boss"]
    assert [(each["action"], each["subject"]) for each in reversed(log)] == [
        ("image_set.create", "small"),
        ("protocol.create", "gentle"),
        ("comparison.change", "digits/gentle"),
        ("comparison.change", "digits/pgd"),
        ("worker.order", "1"),
    ]
    assert log[2]["detail"] == {"state": "measuring", "default": True}


def test_what_garbage_collection_takes_for_good_is_noted(api: Api, zoo: World) -> None:
    assert api.delete("/models/vit-a").status_code == 204
    (deleted,) = api.get("/audit?action=model.delete").json()["items"]
    assert remove_model(zoo.sessions, deleted["detail"]["id"], 0).model
    (collected,) = api.get("/audit?action=model.collect").json()["items"]
    assert (collected["subject"], collected["detail"]["id"]) == ("vit-a", deleted["detail"]["id"])
