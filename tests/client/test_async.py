"""The asynchronous client: the same plans, carried out on an event loop, on real sockets."""

import asyncio
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from client.async_registry import AsyncRegistry
from client.errors import NotFoundError, UnreachableError
from client.registry import Registry
from client.routes import Routes
from tests.client.conftest import json_answer

HANG_UP = (0, {}, b"")
EMPTY = json_answer(200, {"items": [], "next": None, "total": 0})


def quick(url: str) -> AsyncRegistry:
    return AsyncRegistry(url, first_wait_seconds=0.001)


def test_both_clients_have_every_route_and_nothing_else() -> None:
    def public(kind: type) -> set[str]:
        return {name for name, value in inspect.getmembers(kind, callable) if not name.startswith("_")} - {"close"}

    assert public(Registry) == public(AsyncRegistry) == public(Routes)
    for name in public(Routes):
        assert getattr(Registry, name).__doc__ == getattr(AsyncRegistry, name).__doc__ == getattr(Routes, name).__doc__
        assert getattr(Routes, name).__doc__, name


def test_pages_are_followed_and_broken_connections_survived(loopback: Callable[..., Any]) -> None:
    pages = [
        json_answer(200, {"items": [{"name": "a"}, {"name": "b"}], "next": "/models?cursor=2&limit=200", "total": 3}),
        HANG_UP,
        json_answer(200, {"items": [{"name": "c"}], "next": None, "total": 3}),
    ]
    server = loopback(HANG_UP, *pages)

    async def names() -> list[str]:
        async with quick(server.url) as registry:
            return [model["name"] async for model in registry.models(tag="t")]

    assert asyncio.run(names()) == ["a", "b", "c"]
    assert len(server.asked) == 4


def test_many_requests_wait_at_the_same_time(loopback: Callable[..., Any]) -> None:
    pending = json_answer(202, {"status": "pending", "detail": "A worker computes it."}, Retry_After="0.3")
    fresh = json_answer(200, {"k": 3, "stale": False})
    servers = [loopback(pending, fresh) for _ in range(8)]

    async def all_of_them() -> float:
        loop = asyncio.get_running_loop()
        began = loop.time()
        registries = [quick(server.url) for server in servers]
        await asyncio.gather(*(registry.clusters() for registry in registries))
        await asyncio.gather(*(registry.close() for registry in registries))
        return loop.time() - began

    # one after another they would pause for 8 x 0.3 seconds
    assert asyncio.run(all_of_them()) < 2.0


def test_errors_are_the_same(loopback: Callable[..., Any]) -> None:
    server = loopback(json_answer(404, {"detail": "No model is called a."}))

    async def ask(url: str) -> None:
        async with quick(url) as registry:
            await registry.model("a")

    with pytest.raises(NotFoundError, match="No model is called a"):
        asyncio.run(ask(server.url))
    with pytest.raises(UnreachableError, match="sat serve"):
        asyncio.run(ask("http://127.0.0.1:1"))


def test_files_go_both_ways(loopback: Callable[..., Any], tmp_path: Path) -> None:
    content = bytes(range(256)) * 4096
    file, to, steps = tmp_path / "a.safetensors", tmp_path / "b.safetensors", []
    file.write_bytes(content)
    server = loopback(
        HANG_UP, json_answer(202, {"name": "a"}), (200, {"Content-Length": "9"}, b"12"), (200, {}, content)
    )

    async def there_and_back() -> None:
        async with quick(server.url) as registry:
            await registry.register({"name": "a"}, file, steps.append)
            await registry.checkpoint("a", to)

    asyncio.run(there_and_back())
    assert content in server.bodies[1]
    assert sum(steps) == len(content)  # the first sending was counted back
    assert to.read_bytes() == content


def test_an_abandoned_stream_is_closed(loopback: Callable[..., Any]) -> None:
    lines = b': ping\n\nevent: progress\nid: 7\ndata: {"n": 1}\n\n'
    server = loopback((200, {"Content-Type": "text/event-stream"}, lines))

    async def first() -> Any:
        async with quick(server.url) as registry:
            async for event in registry.events():
                return event
        return None

    event = asyncio.run(first())
    assert (event.kind, event.id, event.data) == ("progress", "7", {"n": 1})
