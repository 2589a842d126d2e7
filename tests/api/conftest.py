"""A registry with random results, and real apps on it."""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import pytest
from fastapi.testclient import TestClient
from httpx import Response
from sqlalchemy import func, update

from api.app import create_app
from registry.database import Sessions, make_engine, make_sessions
from registry.settings import Settings
from registry.tables import WorkerRow
from tests.api.world import World
from tests.conftest import Servers


class Api(TestClient):
    """A client of a running app that looks at what is committed, unless it is told to take what comes."""

    def get(self, url: str, *, settle: bool = True, **options: Any) -> Response:
        """GET; first, the app's view is brought up to date."""
        if settle:
            self.app.state.services.watch.refresh()
        return super().get(url, **options)


def eventually(api: Api, path: str, holds: Callable[[Any], bool]) -> Any:
    """The answer once it holds; the watch hears of changes within a second."""
    deadline = time.monotonic() + 5
    while not holds(answer := api.get(path, settle=False).json()):
        assert time.monotonic() < deadline, answer
        time.sleep(0.02)
    return answer


@pytest.fixture
def together() -> Callable[[list[Callable[[], Any]]], list[Any]]:
    """Calls functions at the same time, each in its own thread, and returns what they returned."""

    def call(functions: list[Callable[[], Any]]) -> list[Any]:
        ready = threading.Barrier(len(functions))

        def one(function: Callable[[], Any]) -> Any:
            ready.wait()
            return function()

        with ThreadPoolExecutor(len(functions)) as pool:
            return list(pool.map(one, functions))

    return call


@pytest.fixture
def world(sessions: Sessions) -> World:
    """An empty registry with one comparison, `digits/pgd`."""
    world = World(sessions, np.random.default_rng(0))
    world.add_comparison()
    return world


@pytest.fixture(scope="session")
def zoo_template(servers: Servers, template: str) -> Iterator[tuple[str, World]]:
    """A database that holds the zoo, and its world: written once, because that takes longer than most tests."""
    name = f"zoo_{uuid4().hex}"
    with servers.postgres.connect() as connection:
        connection.execute(f'create database "{name}" template "{template}"')
    engine = make_engine(servers.postgres.url(name))
    world = World(make_sessions(engine), np.random.default_rng(0))
    world.add_comparison()
    for model in ("resnet-a", "resnet-b", "vit-a", "vit-b", "mixer-a", "mixer-b"):
        world.add_model(model)
    world.measure()
    engine.dispose()
    yield name, world
    servers.postgres.drop_database(name)


@pytest.fixture
def database_url(request: pytest.FixtureRequest, servers: Servers, template: str) -> Iterator[str]:
    """The address of a new database, dropped after the test: a copy of the zoo's for tests that use it."""
    source = request.getfixturevalue("zoo_template")[0] if "zoo" in request.fixturenames else template
    with servers.clone(source) as url:
        yield url


@pytest.fixture
def zoo(sessions: Sessions, zoo_template: tuple[str, World]) -> World:
    """Six measured models of three families, in one comparison, `digits/pgd`."""
    written = replace(zoo_template[1], sessions=None)
    with sessions.begin() as session:
        session.execute(update(WorkerRow).values(seen_at=func.now()))  # it was heard of just now, as in a new world
    return replace(deepcopy(written), sessions=sessions)


@pytest.fixture
def settings(database_url: str, redis_url: str, tmp_path: Path) -> Settings:
    """The settings of an api on this test's database."""
    return Settings.model_validate(
        {
            "database_url": database_url,
            "redis_url": redis_url,
            "artifacts": str(tmp_path / "artifacts"),
            "cache": tmp_path / "cache",
            "max_upload_bytes": 1_000_000,
            "keys": "loopback",
            "allowed_hosts": ("*",),
        }
    )


@pytest.fixture
def start(settings: Settings) -> Iterator[Callable[..., Api]]:
    """Starts an app, with other settings where these are given, and stops it at the end."""
    running: list[Api] = []

    def begin(**changes: object) -> Api:
        client = Api(create_app(settings.model_copy(update=changes)), raise_server_exceptions=False)
        client.__enter__()
        running.append(client)
        return client

    yield begin
    for client in running:
        client.__exit__(None, None, None)


@pytest.fixture
def api(start: Callable[..., Api]) -> Api:
    """A client of a running app."""
    return start()
