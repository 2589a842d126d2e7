"""What the client promises about HTTP, shown on real sockets."""

import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from client.errors import BusyError, ConflictError, InvalidError, NotFoundError, RegistryError, UnreachableError
from client.registry import Registry
from client.transport import ATTEMPTS, CHUNK_BYTES
from tests.client.conftest import json_answer

HANG_UP = (0, {}, b"")
EMPTY = json_answer(200, {"items": [], "next": None, "total": 0})


def quick(url: str) -> Registry:
    return Registry(url, first_wait_seconds=0.001)


def test_a_read_survives_broken_connections(loopback: Callable[..., Any]) -> None:
    server = loopback(HANG_UP, HANG_UP, EMPTY)
    with quick(server.url) as registry:
        assert list(registry.models()) == []
    assert len(server.asked) == 3


def test_a_read_waits_as_long_as_a_busy_registry_asks(loopback: Callable[..., Any]) -> None:
    busy = json_answer(503, {"detail": "The database restarts: try again."}, Retry_After="0")
    server = loopback(busy, EMPTY)
    with quick(server.url) as registry:
        assert list(registry.models()) == []
    assert len(server.asked) == 2


def test_a_busy_registry_is_given_up_in_the_end(loopback: Callable[..., Any]) -> None:
    server = loopback(json_answer(503, {"detail": "The database is down."}, Retry_After="0"))
    with quick(server.url) as registry, pytest.raises(BusyError, match="The database is down"):
        list(registry.models())
    assert len(server.asked) == ATTEMPTS


def test_503_without_retry_after_is_an_answer(loopback: Callable[..., Any]) -> None:
    server = loopback(json_answer(503, {"detail": "Not ready."}))
    with quick(server.url) as registry, pytest.raises(BusyError, match="Not ready"):
        registry.ready()
    assert len(server.asked) == 1


def test_a_post_is_repeated_under_one_idempotency_key(loopback: Callable[..., Any]) -> None:
    running = json_answer(409, {"detail": "The same request is still being answered."}, Retry_After="0")
    server = loopback(HANG_UP, running, (502, {}, b"<html>"), json_answer(201, {"name": "p"}))
    with quick(server.url) as registry:
        assert registry.create_protocol({"name": "p"}) == {"name": "p"}
        registry.create_protocol({"name": "q"})
    keys = [headers["Idempotency-Key"] for headers in server.headers]
    assert len(keys) == 5
    assert len(set(keys[:4])) == 1
    assert keys[4] != keys[0]


def test_a_change_is_sent_once_unless_it_never_left(loopback: Callable[..., Any]) -> None:
    server = loopback(HANG_UP)
    with quick(server.url) as registry, pytest.raises(UnreachableError, match="try again"):
        registry.change_model("a", {"description": "b"}, revision=1)
    assert server.asked == [("PATCH", "/models/a")]
    assert server.headers[0]["If-Match"] == '"1"'


def test_a_change_without_a_revision_is_made_on_top_of_what_is_there(loopback: Callable[..., Any]) -> None:
    server = loopback(
        json_answer(200, {"revision": 1}, ETag='"1~7-ab"'),
        json_answer(412, {"detail": "It was changed since."}),
        json_answer(200, {"revision": 2}, ETag='"2~7-cd"'),
        json_answer(200, {"revision": 3}),
    )
    with quick(server.url) as registry:
        assert registry.change_model("a", {"tags": []})["revision"] == 3
    assert [headers.get("If-Match") for headers in server.headers] == [None, '"1~7-ab"', None, '"2~7-cd"']
    stale = loopback(json_answer(412, {"detail": "It was changed since."}))
    with quick(stale.url) as registry, pytest.raises(RegistryError, match="changed since"):
        registry.change_model("a", {"tags": []}, revision=7)
    assert len(stale.asked) == 1


@pytest.mark.parametrize(
    ("delete", "path"),
    [
        (lambda registry: registry.delete_model("a"), "/models/a"),
        (lambda registry: registry.delete_alias("a"), "/aliases/a"),
        (lambda registry: registry.delete_webhook(7), "/webhooks/7"),
    ],
)
def test_a_delete_whose_answer_was_lost_is_done(
    loopback: Callable[..., Any], delete: Callable[[Registry], None], path: str
) -> None:
    there, gone = json_answer(200, {}, ETag='"1~7-ab"'), json_answer(404, {"detail": "There is none."})
    for lost in (HANG_UP, (504, {}, b"<html>")):
        server = loopback(there, lost, gone)
        with quick(server.url) as registry:
            delete(registry)
        assert server.asked == [("GET", path), ("DELETE", path), ("DELETE", path)]
        assert [headers.get("If-Match") for headers in server.headers] == [None, '"1~7-ab"', '"1~7-ab"']
    for never_there in ((gone,), (there, gone)):
        with quick(loopback(*never_there).url) as registry, pytest.raises(NotFoundError):
            delete(registry)


def test_what_took_a_deleted_models_name_is_left_alone(loopback: Callable[..., Any]) -> None:
    server = loopback(json_answer(200, {}, ETag='"1~7-ab"'), HANG_UP, json_answer(412, {"detail": "It was changed."}))
    with quick(server.url) as registry, pytest.raises(RegistryError, match="It was changed"):
        registry.delete_model("a")


def test_a_proxy_that_does_not_reach_the_registry_is_tried_again(loopback: Callable[..., Any]) -> None:
    server = loopback((502, {}, b"<html>"), (504, {}, b"<html>"), json_answer(429, {}, Retry_After="0"), EMPTY)
    with quick(server.url) as registry:
        assert list(registry.models()) == []
    assert len(server.asked) == 4


def test_a_key_goes_with_every_request(loopback: Callable[..., Any]) -> None:
    server = loopback(EMPTY)
    with Registry(server.url, key="secret") as registry:
        list(registry.models())
    assert server.headers[0]["Authorization"] == "Bearer secret"


def test_events_go_on_after_the_last_one_that_came(loopback: Callable[..., Any]) -> None:
    kind = {"Content-Type": "text/event-stream"}
    first = b': ping\n\nevent: progress\nid: a\ndata: {"n": 1}\n\nevent: progress\nid: b\ndata: {"n"'  # torn
    second = b'event: progress\nid: c\ndata: {"n":\ndata: 2}\n\nevent: end\nid: d\ndata: {"n": 3}\n\n'
    server = loopback((200, {**kind, "Content-Length": "999"}, first), HANG_UP, (200, kind, second))
    with quick(server.url) as registry:
        events = list(registry.model_events("a"))
    assert [(event.kind, event.id, event.data["n"]) for event in events] == [
        ("progress", "a", 1),
        ("progress", "c", 2),
        ("end", "d", 3),
    ]
    assert [headers.get("Last-Event-ID") for headers in server.headers] == [None, "a", "a"]


def test_nobody_listening_says_what_to_do() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
        with quick(url) as registry, pytest.raises(UnreachableError) as error:
            registry.model("a")
    assert url in str(error.value)
    for word in ("sat serve", "--url", "SAT_URL"):
        assert word in str(error.value)


@pytest.mark.parametrize(
    ("answer", "says"),
    [((200, {"Content-Type": "text/html"}, b"<p>hello"), "200"), ((404, {}, b"no"), "404"), ((302, {}, b""), "302")],
)
def test_another_service_is_recognised(loopback: Callable[..., Any], answer: Any, says: str) -> None:
    server = loopback(answer)
    with quick(server.url) as registry, pytest.raises(UnreachableError, match="not as a SAT registry") as error:
        registry.model("a")
    assert says in str(error.value)


@pytest.mark.parametrize(
    ("status", "kind"), [(404, NotFoundError), (409, ConflictError), (422, InvalidError), (500, RegistryError)]
)
def test_the_status_chooses_the_error(loopback: Callable[..., Any], status: int, kind: type[RegistryError]) -> None:
    server = loopback(json_answer(status, {"detail": "Do this."}))
    with quick(server.url) as registry, pytest.raises(kind) as error:
        registry.model("a")
    assert (error.value.status, error.value.detail) == (status, "Do this.")
    assert str(error.value).startswith("Do this.")
    assert len(server.asked) == 1


def test_an_error_names_near_matches_and_classes(loopback: Callable[..., Any]) -> None:
    problem = {
        "detail": "No model is called resnet-x.",
        "near": ["resnet-a", "resnet-b"],
        "classes": {"model": ["cat"], "task": ["dog", "owl"]},
        "errors": [{"loc": ["body", "name"], "msg": "Field required"}],
    }
    server = loopback(json_answer(404, problem))
    with quick(server.url) as registry, pytest.raises(NotFoundError) as error:
        registry.model("resnet-x")
    assert error.value.near == ("resnet-a", "resnet-b")
    for part in ("resnet-a, resnet-b", "model: cat.", "task: dog, owl.", "name: Field required."):
        assert part in str(error.value)


def test_pages_are_followed_to_the_end(loopback: Callable[..., Any]) -> None:
    server = loopback(
        json_answer(200, {"items": [{"name": "a"}, {"name": "b"}], "next": "/models?cursor=2&limit=200", "total": 3}),
        json_answer(200, {"items": [{"name": "c"}], "next": None, "total": 3}),
    )
    with quick(server.url) as registry:
        assert [model["name"] for model in registry.models(state=None, tag="t")] == ["a", "b", "c"]
    assert server.asked == [("GET", "/models?limit=200&tag=t"), ("GET", "/models?cursor=2&limit=200")]


def test_names_cannot_leave_their_place_in_the_path(loopback: Callable[..., Any]) -> None:
    server = loopback(json_answer(200, {}))
    with quick(server.url) as registry:
        registry.model("../image-sets/x?y#z")
        registry.model("@ab12")
    assert server.asked == [("GET", "/models/..%2Fimage-sets%2Fx%3Fy%23z"), ("GET", "/models/@ab12")]


def test_an_upload_is_sent_whole_and_counted(loopback: Callable[..., Any], tmp_path: Path) -> None:
    content = bytes(range(256)) * 4096  # 1 MiB: more than one chunk
    file = tmp_path / "a.safetensors"
    file.write_bytes(content)
    server = loopback(json_answer(202, {"name": "a"}))
    steps: list[int] = []
    with quick(server.url) as registry:
        registry.register({"name": "a", "architecture": "é"}, file, steps.append)
    assert content in server.bodies[0]
    assert b'name="metadata"' in server.bodies[0]
    assert b'filename="a.safetensors"' in server.bodies[0]
    assert sum(steps) == len(content)
    assert max(steps) < len(content)


def test_a_download_appears_whole_or_not_at_all(loopback: Callable[..., Any], tmp_path: Path) -> None:
    torn = (200, {"Content-Length": "10"}, b"12345")
    hang_up_after = loopback(torn)
    to = tmp_path / "made" / "weights.safetensors"
    with quick(hang_up_after.url) as registry, pytest.raises(UnreachableError):
        registry.checkpoint("a", to)
    assert list(to.parent.iterdir()) == []

    server = loopback(torn, (200, {}, b"1234567890"))
    with quick(server.url) as registry:
        assert registry.checkpoint("a", to) == to
    assert to.read_bytes() == b"1234567890"
    assert [path.name for path in to.parent.iterdir()] == [to.name]


def test_a_download_goes_on_where_it_broke_off(loopback: Callable[..., Any], tmp_path: Path) -> None:
    whole = bytes(range(256)) * (CHUNK_BYTES // 256) + b"the rest"
    # what came of the second chunk is lost with the connection
    torn = (200, {"Content-Length": str(len(whole)), "ETag": '"a"'}, whole[:-2])
    rest = (206, {"Content-Range": f"bytes {CHUNK_BYTES}-{len(whole) - 1}/{len(whole)}"}, whole[CHUNK_BYTES:])
    server, steps = loopback(torn, HANG_UP, rest), list[int]()
    with quick(server.url) as registry:
        registry.checkpoint("a", tmp_path / "weights", steps.append)
    assert (tmp_path / "weights").read_bytes() == whole
    assert steps == [CHUNK_BYTES, len("the rest")]
    asked = [(headers.get("Range"), headers.get("If-Range")) for headers in server.headers]
    assert asked == [(None, None), *[(f"bytes={CHUNK_BYTES}-", '"a"')] * 2]


def test_a_download_of_what_has_changed_since_begins_anew(loopback: Callable[..., Any], tmp_path: Path) -> None:
    whole = b"x" * (CHUNK_BYTES + 1)
    torn = (200, {"Content-Length": "999999", "ETag": '"a"'}, whole)
    changed = loopback(torn, (200, {"ETag": '"b"'}, b"abc"))
    with quick(changed.url) as registry:
        registry.checkpoint("a", tmp_path / "weights")
    assert (tmp_path / "weights").read_bytes() == b"abc"
    other_part = loopback(torn, (206, {"Content-Range": "bytes 7-9/10"}, b"abc"))
    with quick(other_part.url) as registry, pytest.raises(UnreachableError, match="another part"):
        registry.checkpoint("a", tmp_path / "weights")


def test_a_refused_download_leaves_nothing(loopback: Callable[..., Any], tmp_path: Path) -> None:
    server = loopback(json_answer(404, {"detail": "No model is called a."}))
    with quick(server.url) as registry, pytest.raises(NotFoundError):
        registry.checkpoint("a", tmp_path / "weights.safetensors")
    assert list(tmp_path.iterdir()) == []


def test_clusters_are_asked_for_until_they_are_there(loopback: Callable[..., Any]) -> None:
    pending = json_answer(202, {"status": "pending", "detail": "A worker computes it."}, Retry_After="0")
    stale, fresh = (json_answer(200, {"k": 3, "stale": stale}, Retry_After="0") for stale in (True, False))
    server = loopback(pending, pending, stale, fresh)
    with quick(server.url) as registry:
        assert not registry.clusters(k=3)["stale"]
        assert len(server.asked) == 4
    with quick(loopback(stale).url) as registry:
        assert registry.clusters(wait_seconds=0)["stale"]
    with quick(loopback(pending).url) as registry, pytest.raises(BusyError, match="sat workers"):
        registry.clusters(wait_seconds=0)


def test_a_comparison_is_made_once_and_then_changed_only_if_it_differs(loopback: Callable[..., Any]) -> None:
    there = {"image_set": "digits", "protocol": "pgd", "state": "paused", "default": True}
    page = json_answer(200, {"items": [there], "next": None, "total": 1})
    server = loopback(EMPTY, json_answer(201, there), page, page, json_answer(200, there))
    with quick(server.url) as registry:
        registry.compare("digits", "pgd", state="paused")
        registry.compare("digits", "pgd", state="paused", default=True)
        registry.compare("digits", "pgd", state="measuring")
    methods = [method for method, _ in server.asked]
    assert methods == ["GET", "POST", "GET", "GET", "PATCH"]
    assert server.bodies[-1] == b'{"state":"measuring"}'
