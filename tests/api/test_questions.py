"""Analyses that readers ask for: bounded for one comparison and for one key, and waited for together."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from sqlalchemy import func, select

from api.access.limiting import WriteLimit
from registry.analyses import MAX_PENDING
from registry.settings import KeyMode
from registry.tables import AnalysisRow, Scope
from tests.api.callers import bearer, make_key
from tests.api.conftest import Api
from tests.api.light_worker import worker
from tests.api.world import World


def rows(world: World) -> int:
    with world.sessions() as session:
        return session.execute(select(func.count()).select_from(AnalysisRow)).scalar_one()


def test_a_reader_cannot_fill_the_light_lane(api: Api, zoo: World) -> None:
    ask = "/recommend/ensemble?n=2&wait=0&exclude={}&min_accuracy={}".format
    statuses = [
        api.get(ask(name, share / 1000), settle=False).status_code
        for share in range(MAX_PENDING)
        for name in ("resnet-a", "vit-a")
    ]
    # a question is about members: different limits may lead to the same ones
    assert rows(zoo) <= MAX_PENDING
    assert set(statuses) <= {200, 429}
    with zoo.sessions.begin() as session:
        for index in range(MAX_PENDING - rows(zoo)):
            session.add(
                AnalysisRow(
                    comparison_id=1,
                    kind="clusters",
                    parameters_sha256=bytes([index] * 32),
                    parameters={"k": 1000 + index},
                    wanted_version=1,
                )
            )
    refused = api.get("/clusters?k=3&wait=0")
    assert (refused.status_code, refused.headers["retry-after"]) == (429, "1")
    assert rows(zoo) == MAX_PENDING
    with worker(api, zoo):  # what waited is done, and there is room again
        deadline = time.monotonic() + 30
        while (answer := api.get("/clusters?k=3&wait=10")).status_code == 429:
            assert time.monotonic() < deadline
    assert answer.status_code == 200


def test_a_key_asks_few_new_questions_and_any_number_of_old_ones(
    start: Callable[..., Api], zoo: World, empty_redis: str
) -> None:
    api = start(keys=KeyMode.REQUIRED)
    services = api.app.state.services
    object.__setattr__(services, "questions", WriteLimit(empty_redis, 2, namespace="sat-questions"))
    one, other = (bearer(make_key(zoo.sessions, name, Scope.READ)) for name in ("one", "other"))
    asked = [api.get(f"/clusters?k={k}&wait=0", headers=one).status_code for k in (2, 3, 2, 3, 4)]
    assert asked == [202, 202, 202, 202, 429]
    assert api.get("/clusters?k=4&wait=0", headers=other).status_code == 202
    assert api.get("/clusters?k=4&wait=0", headers=one).status_code == 202  # it is no new question any more


def test_those_who_wait_look_at_the_database_together(api: Api, zoo: World) -> None:
    waiters = api.app.state.services.waiters
    with ThreadPoolExecutor(20) as pool:
        started = time.monotonic()
        answers = list(pool.map(lambda k: api.get(f"/clusters?k={1 + k % 4}&wait=1", settle=False), range(20)))
        took = time.monotonic() - started
    assert {answer.status_code for answer in answers} == {202}
    assert took < 5
    # once in 50 ms, not twenty times
    assert 2 <= waiters.looks <= took / 0.05 + 2
    with worker(api, zoo):
        assert api.get("/clusters?k=2&wait=10").status_code == 200
