"""What bodies may hold in memory, of one, of one key and of all together; and how much is said of what is wrong."""

import json
from collections.abc import Callable, Iterator

import pytest

from api.bodies import FILES_OF_ONE, HELD_BY_ONE, MOST_OPENINGS, STRANGERS_BYTES, USUAL_BYTES
from api.budget import Budget
from api.problems import MAX_ERRORS
from registry.errors import UnavailableError
from registry.settings import KeyMode
from registry.tables import Scope
from tests.api.callers import bearer, make_key
from tests.api.conftest import Api
from tests.api.test_models import CHECKPOINT, METADATA
from tests.api.world import World

JSON = {"Content-Type": "application/json"}


def test_signing_in_reads_as_much_as_a_key_needs(start: Callable[..., Api], world: World) -> None:
    api = start(keys=KeyMode.REQUIRED)
    key = make_key(world.sessions, "one", Scope.READ)
    assert api.post("/session", json={"key": key, "next": "/docs"}).status_code == 204
    for content in (b"x" * (STRANGERS_BYTES + 1), _pieces(STRANGERS_BYTES + 1)):
        answer = api.post("/session", content=content, headers=JSON)
        assert (answer.status_code, answer.headers["connection"]) == (413, "close")
        assert str(STRANGERS_BYTES) in answer.json()["detail"]


def _pieces(size: int) -> Iterator[bytes]:
    for _ in range(size):
        yield b"x"


def test_only_lists_of_classes_and_plans_may_be_long(api: Api, world: World) -> None:
    long = b" " * (USUAL_BYTES + 1)
    assert api.post("/protocols", content=long, headers=JSON).status_code == 413
    assert api.post("/plan", content=long, headers=JSON).status_code == 422
    classes = [f"class number {index}" for index in range(100_000)]
    answer = api.post("/models", json=METADATA | {"task": None, "classes": classes, "pretrained": "a"})
    assert "`classes`" not in answer.text
    assert answer.status_code == 422  # test_resnet has no weights of that name


def test_one_holder_gets_its_share_and_all_together_the_whole() -> None:
    budget = Budget(10, 6, "come again in a moment")
    with budget.holding("a") as one, budget.holding("b") as other:
        one.take(6)
        with pytest.raises(UnavailableError, match="again in a moment"):
            one.take(1)
        other.take(4)
        with pytest.raises(UnavailableError):
            other.take(1)
    with budget.holding("a") as again:
        again.take(6)


@pytest.mark.parametrize("path", ["/plan", "/models"])
def test_a_request_with_very_many_faults_is_refused_with_few_words(api: Api, world: World, path: str) -> None:
    bodies = {
        "fields": b"{%s}" % b",".join(b'"%x":1' % index for index in range(60_000)),
        "tags": b'{"name": "a", "tags": [%s1]}' % (b"1," * 60_000),
        "classes": b'{"name": "a", "classes": [%s1]}' % (b"1," * 60_000),
        "arguments": b'{"name": "a", "model_args": {%s}}' % b",".join(b'"%x":[]' % index for index in range(60_000)),
        "models": b'{"models": [%s{}]}' % (b"{}," * 9_000),
        "unknown": json.dumps({f"x{index}": 1 for index in range(60)}).encode(),
        "a name": b'{"%s": 1}' % (b"x" * 500_000),
    }
    for name, body in bodies.items():
        answer = api.post(path, content=body, headers=JSON)
        assert answer.status_code == 422, name
        assert len(answer.content) < 20_000, name
        assert len(answer.json()["errors"]) <= MAX_ERRORS, name


def test_how_many_faults_there_are_is_said_where_not_all_are_listed(api: Api, world: World) -> None:
    answer = api.post("/comparisons", json={f"x{index}": 1 for index in range(50)})
    assert len(answer.json()["errors"]) == MAX_ERRORS
    assert "(and 49 more)" in answer.json()["detail"]  # 50 unknown and 2 missing, of which 3 are shown


def test_brackets_are_counted_before_they_become_objects(api: Api, world: World) -> None:
    crowded = b'{"models": [%s{}]}' % (b"{}," * MOST_OPENINGS)
    assert "brackets" in api.post("/plan", content=crowded, headers=JSON).json()["detail"]
    form = {"metadata": (b"[" * (MOST_OPENINGS + 1)).decode()}
    answer = api.post("/models", data=form, files={"checkpoint": ("a", CHECKPOINT)})
    assert (answer.status_code, "brackets" in answer.json()["detail"]) == (422, True)


def test_a_plan_that_is_no_json_is_told_so(api: Api, world: World) -> None:
    assert api.post("/plan", content=b"{", headers=JSON).status_code == 422
    assert api.post("/plan", content=b"{}", headers={"Content-Type": "text/plain"}).status_code == 415


def test_one_key_cannot_take_all_places_for_files(start: Callable[..., Api], world: World) -> None:
    api = start(keys=KeyMode.REQUIRED)
    key = bearer(make_key(world.sessions, "one", Scope.WRITE))
    form = {"metadata": json.dumps(METADATA)}
    # places are given back: many more than may be sent at once, one after the other
    for _ in range(3 * FILES_OF_ONE):
        assert api.post("/models", data=form, files={"checkpoint": ("a", b"x")}, headers=key).status_code == 422
    for _ in range(3 * HELD_BY_ONE // USUAL_BYTES):
        assert api.post("/protocols", content=b" " * USUAL_BYTES, headers=JSON | key).status_code in {403, 422}
