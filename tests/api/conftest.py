"""A registry with random results, and real apps on it."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from httpx import Response

from api.app import create_app
from registry.database import Sessions
from registry.settings import Settings
from tests.api.world import World


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
def world(sessions: Sessions) -> World:
    """An empty registry with one comparison, `digits/pgd`."""
    world = World(sessions, np.random.default_rng(0))
    world.add_comparison()
    return world


@pytest.fixture
def zoo(world: World) -> World:
    """Six measured models of three families."""
    for name in ("resnet-a", "resnet-b", "vit-a", "vit-b", "mixer-a", "mixer-b"):
        world.add_model(name)
    world.measure()
    return world


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
