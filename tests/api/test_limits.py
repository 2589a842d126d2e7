"""How many changes a key may make within a minute, with Redis and without."""

from collections.abc import Callable
from pathlib import Path

from redis import Redis

from api.access.limiting import WriteLimit
from embedded.processes import running
from embedded.sockets import make_socket_folder
from embedded.valkey import Valkey
from registry.settings import KeyMode
from registry.tables import Scope
from tests.api.callers import bearer, make_key
from tests.api.conftest import Api
from tests.api.world import World


def test_changes_are_counted_by_key_and_reads_are_not(
    start: Callable[..., Api], world: World, empty_redis: str
) -> None:
    api = start(keys=KeyMode.REQUIRED, writes_per_minute=3)
    one, two = (bearer(make_key(world.sessions, name, Scope.WRITE)) for name in ("one", "two"))
    for _ in range(3):
        assert api.post("/models/none/retry", headers=one).status_code == 404
    refused = api.post("/models/none/retry", headers=one)
    assert refused.status_code == 429
    assert refused.headers["content-type"] == "application/problem+json"
    assert 1 <= int(refused.headers["retry-after"]) <= 60
    assert "SAT_WRITES_PER_MINUTE" in refused.json()["detail"]
    assert api.get("/models", headers=one).status_code == 200
    assert api.post("/models/none/retry", headers=two).status_code == 404


def test_what_is_refused_is_not_counted(start: Callable[..., Api], world: World, empty_redis: str) -> None:
    api = start(keys=KeyMode.REQUIRED, writes_per_minute=1)
    reader, writer = (bearer(make_key(world.sessions, scope, scope)) for scope in (Scope.READ, Scope.WRITE))
    for _ in range(3):
        assert api.post("/models/none/retry", headers=reader).status_code == 403
        assert api.post("/models/none/retry").status_code == 401
    assert api.post("/models/none/retry", headers=writer).status_code == 404


def test_api_processes_count_together(empty_redis: str) -> None:
    first, second = WriteLimit(empty_redis, 2), WriteLimit(empty_redis, 2)
    assert first.hit("a") is None
    assert second.hit("a") is None
    assert first.hit("a") is not None
    assert second.hit("a") is not None
    assert second.hit("b") is None


def test_zero_is_no_limit(empty_redis: str) -> None:
    limit = WriteLimit(empty_redis, 0)
    assert all(limit.hit("a") is None for _ in range(100))
    with Redis.from_url(empty_redis.replace("redis+socket", "unix")) as redis:
        assert redis.keys("*sat-writes*") == []


def test_without_redis_a_process_counts_on_its_own_and_waits_for_nobody(tmp_path: Path) -> None:
    sockets = make_socket_folder()
    valkey = Valkey(tmp_path / "valkey", sockets, durable=False)
    limit = WriteLimit(valkey.url, 2)
    assert [limit.hit("a") is None for _ in range(3)] == [True, True, False]  # nothing listens yet
    with running(valkey.service(), tmp_path / "log"):
        other = WriteLimit(valkey.url, 2)
        assert [other.hit("a") is None for _ in range(3)] == [True, True, False]
    assert [other.hit("b") is None for _ in range(3)] == [True, True, False]  # it is gone again
