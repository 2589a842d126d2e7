"""Server-sent events: the state at once, again whenever it changes, from memory, however many listen."""

import asyncio
import os
import re
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from api import live
from api.schemas.events import ModelEvent
from client.events import Event, EventParser
from client.registry import Registry
from registry.tables import JobKind
from tests.api.conftest import Api
from tests.api.test_process import memory_mebibytes, running
from tests.api.world import World

DEADLINE_SECONDS = 30


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Streams say something as soon as they can."""
    monkeypatch.setattr(live, "LEAST_SECONDS", 0.01)


class Listener:
    """Listens to a stream of a running app in a thread of its own, as an asynchronous server serves it."""

    def __init__(self, api: Api, path: str, last_id: str | None = None) -> None:
        self.events: list[Event] = []
        self.status = 0
        self._api, self._path, self._last_id = api, path, last_id
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def _listen(self) -> None:
        headers = {} if self._last_id is None else {"Last-Event-ID": self._last_id}
        # the test client gives a stream only whole: when it has ended
        answer = self._api.get(self._path, settle=False, headers=headers)
        self.status = answer.status_code
        parser = EventParser()
        self.events = [event for line in answer.text.split("\n") if (event := parser.take(line))]

    def wait(self) -> list[Event]:
        """The events of the whole stream, which has to end by itself."""
        self._thread.join(DEADLINE_SECONDS)
        assert not self._thread.is_alive(), "the stream goes on"
        return self.events


def stages(events: list[Event]) -> list[str]:
    return [event.data["progress"]["stage"] for event in events if event.kind == "progress"]


def test_a_measured_model_is_told_at_once_and_that_is_the_end(api: Api, zoo: World) -> None:
    told, end = Listener(api, "/models/resnet-a/events").wait()
    assert (told.kind, told.data["model"], told.data["progress"]["complete"]) == ("progress", "resnet-a", True)
    assert told.data["comparison"] == "digits/pgd"
    assert (end.kind, end.data) == ("end", {"reason": "measured"})
    assert ModelEvent.model_validate(told.data)
    # who has seen that state is told only that it is the end
    (again,) = Listener(api, "/models/resnet-a/events", last_id=told.id).wait()
    assert again.kind == "end"


def test_a_model_is_followed_through_its_stages(api: Api, world: World) -> None:
    other = world.add_model("vit-a")
    world.add_received("resnet-a")
    api.get("/models")
    listener = Listener(api, "/models/resnet-a/events")
    network = 0

    def prepare() -> None:
        nonlocal network
        network = world.prepare("resnet-a")

    for step in (
        prepare,
        lambda: world.evaluate(network),
        lambda: world.attack(network),
        lambda: world.measure("resnet-a", "vit-a"),
    ):
        time.sleep(0.3)
        step()
        api.app.state.services.watch.refresh()  # type: ignore[attr-defined]  # the app's own state
    events = listener.wait()
    assert stages(events) == ["preparing", "evaluating", "attacking", "transferring", "measured"]
    assert events[-1].data == {"reason": "measured"}
    assert len({event.id for event in events}) == len(events) - 1
    assert other


def test_deleted_and_failed_models_end_their_streams(api: Api, zoo: World) -> None:
    zoo.add_received("gone")
    gone = zoo.add_model("vit-new")
    api.get("/models")
    listeners = [Listener(api, f"/models/{name}/events") for name in ("gone", "vit-new")]
    time.sleep(0.5)
    api.delete("/models/gone")
    zoo.end_job(JobKind.ATTACK, gone, "no gradient.")
    assert listeners[0].wait()[-1].data == {"reason": "deleted"}
    events = listeners[1].wait()
    assert events[-1].data == {"reason": "failed"}
    assert events[-2].data["progress"]["reason"] == "its attack failed: no gradient."


def test_an_unknown_model_is_an_error_and_no_stream(api: Api, zoo: World) -> None:
    answer = api.get("/models/resnet-x/events")
    assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json")


def test_a_stream_ends_now_and_then_so_that_its_key_is_looked_at_again(
    api: Api, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.add_received("waiting")
    api.get("/models")
    monkeypatch.setattr(live, "LONGEST_SECONDS", 0.2)
    monkeypatch.setattr(api.app.state.services.live, "_keep_alive_seconds", 0.05)
    (told,) = Listener(api, "/models/waiting/events").wait()
    assert told.kind == "progress"
    assert Listener(api, "/models/waiting/events", last_id=told.id).wait() == []  # and goes on where it was


def test_too_many_listeners_are_told_to_come_back(api: Api, zoo: World) -> None:
    listeners = api.app.state.services.live.listeners
    with listeners.holding("others") as others:
        others.take(live.MAX_OF_ONE)
        assert not listeners.fits("others", 1)
        assert listeners.fits("local", 1)  # one key has not taken everybody's places
    with listeners.holding("local") as mine:
        mine.take(live.MAX_OF_ONE)
        for path in ("/events", "/models/vit-a/events"):
            answer = api.get(path)
            assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    # a measured model's stream ends by itself, and gives its place back
    assert api.get("/models/vit-a/events").status_code == 200
    assert listeners.fits("local", live.MAX_OF_ONE)


@pytest.fixture
def environment(settings: Any) -> dict[str, str]:
    """What a process on this test's database is told."""
    return {
        **os.environ,
        "DATABASE_URL": settings.database_url,
        "REDIS_URL": settings.redis_url,
        "SAT_ARTIFACTS": settings.artifacts,
        "SAT_CACHE": str(settings.cache),
        "SAT_KEYS": "loopback",
    }


def test_a_hundred_listeners_cost_no_query_and_little_memory(
    environment: dict[str, str], zoo: World, tmp_path: Path, statements: Callable[[], int]
) -> None:
    network = zoo.add_model("vit-new")
    with running(environment, tmp_path / "log") as (process, client):
        url = str(client.base_url)
        client.get("/models/vit-new")
        least = memory_mebibytes(process)
        asked_before = statements()
        began = time.monotonic()

        async def follow(registry: httpx.AsyncClient, path: str, n_events: int) -> list[Event]:
            parser, events = EventParser(), []
            async with registry.stream("GET", path) as answer:
                assert answer.headers["content-type"].startswith("text/event-stream")
                async for line in answer.aiter_lines():
                    if event := parser.take(line):
                        events.append(event)
                        if len(events) == n_events:
                            break
            return events

        async def all_of_them() -> list[list[Event]]:
            limits = httpx.Limits(max_connections=None)
            async with httpx.AsyncClient(base_url=url, timeout=60, limits=limits) as registry:
                paths = ["/models/vit-new/events"] * 50 + ["/events"] * 50
                following = [asyncio.create_task(follow(registry, path, 2)) for path in paths]
                await asyncio.sleep(2)
                nonlocal asked_before, began
                quiet, asked_before = statements() - asked_before, statements()
                seconds, began = time.monotonic() - began, time.monotonic()
                per_second.append(quiet / seconds)
                assert memory_mebibytes(process) < least + 60
                await asyncio.to_thread(zoo.transfer, network, zoo.networks["vit-a"], 0)
                return await asyncio.wait_for(asyncio.gather(*following), DEADLINE_SECONDS)

        per_second: list[float] = []
        told = asyncio.run(all_of_them())
        assert [len(events) for events in told] == [2] * 100
        cells = {event.data["progress"]["cells_measured"] for events in told[:50] for event in events}
        assert cells == {0, 1}
        of_all = [
            [event.data["comparisons"][0]["progress"]["cells_measured"] for event in events] for events in told[50:]
        ]
        assert all(after == before + 1 for before, after in of_all)
        # the watch's own look at the database, once a second, is some ten statements; a query a listener would be 100
        assert per_second[0] < 60
        assert memory_mebibytes(process) < least + 60


@pytest.fixture
def statements(servers: Any, database_url: str) -> Iterator[Callable[[], int]]:
    """A function that says how many transactions this test's database has seen."""
    name = re.split(r"[/?]", database_url.split("://", 1)[1])[1]
    with servers.postgres.connect() as connection:
        yield lambda: int(
            connection.execute(
                "select xact_commit + xact_rollback from pg_stat_database where datname = %s", (name,)
            ).fetchone()[0]
        )


def test_a_stop_ends_the_streams(environment: dict[str, str], zoo: World, tmp_path: Path) -> None:
    zoo.add_received("waiting")
    with (
        running(environment, tmp_path / "log") as (process, client),
        Registry(str(client.base_url), first_wait_seconds=0.01) as registry,
    ):
        stream = registry.model_events("waiting")
        assert next(stream).data["progress"]["stage"] == "preparing"
        began = time.monotonic()
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) in {0, -signal.SIGTERM}
        assert time.monotonic() - began < 8  # not the ten seconds that answers under way are given


def test_keep_alives_come_when_nothing_changes(api: Api, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.add_received("waiting")
    api.get("/models")
    follower = api.app.state.services.live  # type: ignore[attr-defined]  # the app's own state
    monkeypatch.setattr(follower, "_keep_alive_seconds", 0.05)
    lines: list[str] = []

    def listen() -> None:
        lines.extend(api.get("/models/waiting/events", settle=False).text.split("\n\n"))

    thread = threading.Thread(target=listen, daemon=True)
    thread.start()
    time.sleep(0.6)
    api.delete("/models/waiting")
    thread.join(DEADLINE_SECONDS)
    assert lines.count(": ping") >= 3
