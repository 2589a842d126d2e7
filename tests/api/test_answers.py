"""What all answers share: tags, problem documents, request ids, hosts, sizes, and the OpenAPI document."""

import re
import threading
from collections.abc import Callable

import pytest
from sqlalchemy import update
from structlog.testing import capture_logs

from api.cache import Address, AnswerCache, make_body
from registry.access import LOCAL
from registry.database import transaction
from registry.models import delete_model
from registry.tables import ModelRow
from tests.api.conftest import Api
from tests.api.world import World

READS = [
    "/similar/vit-a",
    "/pairs/vit-a/vit-b",
    "/matrix",
    "/matrix?format=csv",
    "/recommend/teacher?student=vit-a",
    "/models",
    "/models/vit-a",
    "/image-sets",
    "/image-sets/digits",
    "/protocols",
    "/comparisons",
    "/jobs",
]


@pytest.mark.parametrize("path", READS)
def test_a_read_is_304_until_something_changes(api: Api, zoo: World, path: str) -> None:
    first = api.get(path)
    tag = first.headers["etag"]
    assert (first.status_code, first.headers["cache-control"]) == (200, "no-cache")
    for given in (tag, f"W/{tag}", f'"other", {tag}', "*"):
        again = api.get(path, headers={"If-None-Match": given})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
    assert api.get(path, headers={"If-None-Match": '"other"'}).content == first.content
    assert api.get(path).headers["etag"] == tag


@pytest.mark.parametrize("path", ["/similar/vit-a", "/matrix", "/matrix?format=csv", "/models/vit-a"])
def test_the_tag_changes_with_the_version(api: Api, zoo: World, path: str) -> None:
    first = api.get(path)
    zoo.add_model("vit-new")
    zoo.transfer(zoo.networks["vit-new"], zoo.networks["vit-a"])
    second = api.get(path, headers={"If-None-Match": first.headers["etag"]})
    assert second.status_code == 200
    assert second.content != first.content


def test_tags_differ_by_query_and_comparison(api: Api, zoo: World) -> None:
    zoo.add_comparison("other", default=False)
    paths = ("/similar/vit-a", "/similar/vit-a?k=1", "/similar/vit-b", "/similar/vit-a?image_set=other", "/matrix")
    tags = [api.get(path).headers["etag"] for path in (*paths, "/matrix?format=csv", "/matrix?image_set=other")]
    assert len(set(tags)) == len(tags)


def test_hot_reads_ask_the_database_nothing(api: Api, zoo: World) -> None:
    paths = ("/similar/vit-a", "/similar/vit-b?k=3", "/matrix", "/recommend/teacher?student=vit-a")
    for path in paths:
        assert api.get(path).status_code == 200
    services = api.app.state.services
    services.watch.stop()
    services.engine.dispose()
    services.engine.pool.connect = services.engine.connect = _no_database
    for path in (*paths, "/similar/mixer-a", "/similar/mixer-b?order=farthest"):
        assert api.get(path, settle=False).status_code == 200, path


def _no_database(*_arguments: object, **_options: object) -> object:
    raise AssertionError("a hot read asked the database")


def test_an_unknown_route_and_method_are_problems(api: Api) -> None:
    missing = api.get("/nothing/here")
    assert missing.status_code == 404
    assert missing.headers["content-type"] == "application/problem+json"
    assert missing.json() == {
        "type": "about:blank",
        "title": "Not Found",
        "status": 404,
        "detail": "there is no /nothing/here: GET /docs shows all routes.",
        "request_id": missing.headers["x-request-id"],
    }
    wrong = api.put("/models")
    assert (wrong.status_code, wrong.headers["content-type"]) == (405, "application/problem+json")
    assert "does not take PUT" in wrong.json()["detail"]
    assert wrong.headers["allow"]


def test_a_body_that_is_no_json_or_has_faults_is_422_with_where(api: Api, world: World) -> None:
    broken = api.post("/protocols", content=b"{", headers={"Content-Type": "application/json"})
    assert broken.status_code == 422
    assert "no valid JSON" in broken.json()["detail"]
    faulty = api.post("/comparisons", json={"image_set": "a b", "state": "x", "speed": 1})
    assert {error["where"] for error in faulty.json()["errors"]} == {"image_set", "protocol", "state", "speed"}
    assert "Value error" not in faulty.text


def test_a_large_body_is_413_whether_it_says_so_or_not(api: Api) -> None:
    for body in (b"x" * 5_000_000, (b"x" * 100_000 for _ in range(50))):
        answer = api.post("/protocols", content=body, headers={"Content-Type": "application/json"})
        assert answer.status_code == 413
        assert answer.headers["connection"] == "close"


def test_a_form_passes_the_limit_only_where_files_are_taken(api: Api) -> None:
    body = (b"x" * 100_000 for _ in range(90))
    answer = api.post("/protocols", content=body, headers={"Content-Type": "multipart/form-data; boundary=X"})
    assert answer.status_code == 413
    assert "/image-sets in a multipart form" in answer.json()["detail"]


def test_a_fault_of_ours_says_only_its_id(api: Api, zoo: World) -> None:
    api.get("/matrix")
    zoo_of = api.app.state.services.watch.view().zoo
    object.__setattr__(zoo_of, "comparisons", None)
    with capture_logs() as log:
        answer = api.get("/matrix", settle=False, headers={"X-Request-Id": "abc-123"})
    assert (answer.status_code, answer.headers["retry-after"]) == (500, "1")
    assert answer.headers["x-request-id"] == "abc-123" == answer.json()["request_id"]
    assert "Traceback" not in answer.text
    assert "comparisons" not in answer.text
    assert [entry["event"] for entry in log if entry.get("request_id") == "abc-123"] == ["request failed", "request"]


def test_a_change_that_meets_the_collection_of_what_it_refers_to_is_to_be_repeated(api: Api, zoo: World) -> None:
    sessions = zoo.sessions

    @api.app.post("/models")
    def crossed() -> None:
        with sessions.begin() as session:
            session.execute(update(ModelRow).values(checkpoint=b"x" * 32))

    api.app.router.routes.insert(0, api.app.router.routes.pop())
    answer = api.post("/models")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1"), answer.text
    assert "in the way" in answer.json()["detail"]


def test_every_answer_has_an_id_and_a_safe_one_is_kept(api: Api) -> None:
    assert re.fullmatch(r"[0-9a-f]{32}", api.get("/healthz").headers["x-request-id"])
    assert api.get("/nothing", headers={"X-Request-Id": "mine.1"}).headers["x-request-id"] == "mine.1"
    assert api.get("/healthz", headers={"X-Request-Id": "a" * 200}).headers["x-request-id"] != "a" * 200
    assert api.get("/healthz", headers={"X-Request-Id": 'x"y'}).headers["x-request-id"] != 'x"y'


def test_only_known_hosts_are_answered(start: Callable[..., Api]) -> None:
    api = start(allowed_hosts=("127.0.0.1", "localhost", "*.example.org", "::1"))
    for host in ("localhost", "localhost:8000", "127.0.0.1:8000", "a.example.org", "LOCALHOST", "[::1]:8000"):
        assert api.get("/healthz", settle=False, headers={"Host": host}).status_code == 200, host
    for host in ("evil.org", "localhost.evil.org", "", "127.0.0.1.evil.org:8000", "[::1"):
        answer = api.get("/healthz", settle=False, headers={"Host": host})
        assert (answer.status_code, answer.headers["content-type"]) == (400, "application/problem+json"), host


@pytest.mark.parametrize("allowed", [("127.0.0.1", "localhost"), ("*",)])
def test_a_foreign_page_may_change_nothing(start: Callable[..., Api], allowed: tuple[str, ...]) -> None:
    api = start(allowed_hosts=allowed)

    def status(origin: str, host: str = "localhost:8000", method: str = "DELETE") -> int:
        headers = {"Host": host, "Origin": origin}
        return api.request(method, "/models/nobody", headers=headers).status_code

    for origin in ("https://evil.org", "http://localhost.evil.org:8000", "null", "", "http://["):
        assert status(origin) == 403, origin
        assert status(origin, method="PATCH") == 403, origin
        assert api.get("/healthz", settle=False, headers={"Host": "localhost", "Origin": origin}).status_code == 200
    for origin in ("http://localhost:8000", "HTTP://LOCALHOST:8000"):
        assert status(origin) == 404, origin
    assert status("http://localhost", host="localhost") == status("http://localhost", host="localhost:80") == 404
    assert status("http://evil.org:x", host="evil.org:x") in {400, 403}
    # a page under another of the server's names, or of another program beside it
    assert status("http://127.0.0.1:8000") == (403 if allowed == ("*",) else 404)
    answer = api.delete("/models/nobody", headers={"Host": "localhost", "Origin": "https://evil.org"})
    assert answer.headers["content-type"] == "application/problem+json"
    assert "SAT_ALLOWED_HOSTS" in answer.json()["detail"]


def test_without_a_database_everything_says_so_and_the_process_lives(start: Callable[..., Api]) -> None:
    api = start(database_url="postgresql+psycopg://nobody@127.0.0.1:1/nothing")
    assert api.get("/healthz", settle=False).status_code == 200
    ready = api.get("/readyz", settle=False)
    assert (ready.status_code, ready.headers["retry-after"]) == (503, "1")
    assert ready.headers["content-type"] == "application/problem+json"
    assert ready.json()["checks"]["database"] == "does not answer"
    for path in ("/models", "/similar/a", "/matrix", "/jobs", "/image-sets"):
        answer = api.get(path, settle=False)
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1"), path
        assert "does not answer" in answer.json()["detail"]
    posted = api.post("/protocols", json={"name": "a"})
    assert posted.status_code == 503


def test_without_the_broker_it_is_degraded_and_goes_on(start: Callable[..., Api], world: World) -> None:
    api = start(redis_url="redis://127.0.0.1:1/0")
    ready = api.get("/readyz")
    assert (ready.status_code, ready.json()["status"]) == (200, "degraded")
    body = {"name": "hub", "architecture": "resnet18", "pretrained": "a1_in1k"}
    assert api.post("/models", json=body).status_code == 202
    assert api.get("/matrix").status_code == 200


def test_an_unmigrated_database_is_not_ready(start: Callable[..., Api], empty_database: str) -> None:
    ready = start(database_url=empty_database).get("/readyz", settle=False)
    assert ready.status_code == 503
    assert "python -m registry migrate" in ready.json()["checks"]["migrations"]


def test_without_its_tables_every_route_says_what_the_operator_has_to_do(
    start: Callable[..., Api], empty_database: str
) -> None:
    api = start(database_url=empty_database)
    answers = [
        api.get(path, settle=False)
        for path in ("/models", "/matrix", "/jobs", "/workers", "/image-sets", "/protocols", "/comparisons")
    ]
    answers.append(api.post("/protocols", json={"name": "a"}))
    for answer in answers:
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1"), answer.text
        assert "python -m registry migrate" in answer.json()["detail"]


def test_with_everything_there_it_is_ready(api: Api) -> None:
    assert api.get("/readyz").json() == {
        "status": "ready",
        "checks": {"database": "ok", "migrations": "ok", "broker": "ok"},
    }


def test_every_operation_is_named_tagged_and_summarised(api: Api) -> None:
    document = api.get("/openapi.json").json()
    operations = [each for path in document["paths"].values() for each in path.values()]
    names = [each["operationId"] for each in operations]
    assert len(set(names)) == len(names)
    assert {"create_model", "list_similar", "get_matrix", "recommend_ensemble"} <= set(names)
    tags = {each["name"] for each in document["tags"]}
    for each in operations:
        assert each["summary"]
        assert each["description"]
        assert set(each["tags"]) <= tags
    assert api.get("/docs").status_code == 200
    text = api.get("/openapi.json").text
    for reference in set(re.findall(r'"#/components/schemas/([^"]+)"', text)):
        assert reference in document["components"]["schemas"], reference


def test_what_the_documentation_lists_is_what_there_is(api: Api, request: pytest.FixtureRequest) -> None:
    text = (request.config.rootpath / "docs" / "api.md").read_text(encoding="utf-8")
    document = api.get("/openapi.json").json()
    routes = {
        f"{method.upper()} {path.replace('{', '<').replace('}', '>')}"
        for path, operations in document["paths"].items()
        for method in operations
    }
    listed = re.findall(r"`((?:[A-Z]+, )*[A-Z]+) (/[^`? ]*)`", text)
    assert {f"{method} {path}" for methods, path in listed for method in methods.split(", ")} >= routes


def test_the_cache_stays_in_its_room_and_keeps_what_is_used() -> None:
    cache = AnswerCache(lambda _image_set, _protocol: None, limit_bytes=15_000)
    for index in range(100):
        cache.put(Address("/a", b"%d" % index), make_body(b"x" * 500))
        cache.get(Address("/a", b"0"))
    kept = [index for index in range(100) if cache.get(Address("/a", b"%d" % index))]
    assert kept[0] == 0
    assert kept[1:] == list(range(100 - len(kept) + 1, 100))
    assert 5 < len(kept) < 12
    cache.put(Address("/big", b""), make_body(b"x" * 5000))
    assert cache.get(Address("/big", b"")) is None


def test_equal_answers_have_equal_tags_in_every_process() -> None:
    assert make_body(b"same").tag == make_body(b"same").tag != make_body(b"other").tag


def test_readers_see_whole_versions_while_everything_changes(api: Api, zoo: World) -> None:
    faults: list[str] = []
    ended = threading.Event()

    def read() -> None:
        while not ended.is_set():
            matrix = api.get("/matrix", settle=False).json()
            size = len(matrix["models"])
            if any(len(row) != size for row in matrix["sat"]) or len(matrix["sat"]) != size:
                faults.append("a row of another version")
            for i, row in enumerate(matrix["sat"]):
                faults.extend("not symmetric" for j in range(size) if row[j] != matrix["sat"][j][i])

    readers = [threading.Thread(target=read) for _ in range(3)]
    for reader in readers:
        reader.start()
    for index in range(4):
        zoo.add_model(f"vit-new-{index}")
        zoo.measure(f"vit-new-{index}", "vit-a", "mixer-a")
        with transaction(zoo.sessions, lambda _lane: None) as session:
            delete_model(session, f"vit-new-{index}", actor=LOCAL)
    ended.set()
    for reader in readers:
        reader.join()
    assert faults == []
