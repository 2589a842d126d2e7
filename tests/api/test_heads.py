"""HEAD: what GET answers, without its body, on every route."""

import time

import httpx
import pytest

from tests.api.conftest import Api
from tests.api.test_models import register
from tests.api.world import World

PATHS = (
    "/", "/docs", "/openapi.json", "/healthz", "/readyz", "/metrics", "/models", "/models/resnet-a",
    "/models/resnet-a/card", "/models/nobody", "/similar/resnet-a", "/pairs", "/pairs/resnet-a/vit-a", "/matrix",
    "/matrix?format=csv", "/jobs", "/workers", "/comparisons", "/static/docs.js", "/nowhere",
)  # fmt: skip
# of this answer alone, or of how it is sent
OWN = {"x-request-id", "date", "age", "transfer-encoding", "content-length"}
STREAMED = {"/matrix", "/matrix?format=csv"}


@pytest.mark.parametrize("path", PATHS)
def test_a_head_is_the_get_without_its_body(api: Api, zoo: World, path: str) -> None:
    whole, head = api.get(path), api.head(path)
    assert (head.status_code, head.content) == (whole.status_code, b"")
    assert _lasting(head, path) == _lasting(whole, path)
    if path not in STREAMED and path != "/metrics" and whole.status_code == 200:
        assert head.headers["content-length"] == str(len(whole.content))
        tag = whole.headers.get("etag")
        assert tag is None or api.head(path, headers={"If-None-Match": tag}).status_code == 304


def test_streams_without_end_end_at_once(api: Api, zoo: World) -> None:
    for path in ("/events", "/models/resnet-a/events"):
        head = api.head(path)
        assert (head.status_code, head.headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
    live, deadline = api.app.state.services.live, time.monotonic() + 5
    while live.listeners._all:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_checkpoint_is_not_read_for_its_head(api: Api, world: World) -> None:
    register(api, name="waiting")
    head = api.head("/models/waiting/checkpoint")
    assert head.status_code == 200
    assert int(head.headers["content-length"]) == len(api.get("/models/waiting/checkpoint").content)


def test_where_there_is_no_get_there_is_no_head(api: Api) -> None:
    assert api.head("/plan").status_code == 405


def _lasting(answer: httpx.Response, path: str) -> dict[str, str]:
    own = OWN | ({"etag"} if path == "/metrics" else set())
    return {name: value for name, value in answer.headers.items() if name not in own}
