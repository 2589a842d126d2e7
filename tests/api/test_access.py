"""Nothing answers without a key but what is meant to, and a key does no more than its scope says."""

import re
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from http import HTTPMethod

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import func, select, update
from sqlalchemy.engine import make_url
from starlette.routing import BaseRoute, Mount, Route
from starlette.websockets import WebSocketDisconnect
from structlog.testing import capture_logs

from api.access.policy import PUBLIC, RULES, required_scope
from api.app import create_app
from registry.access import LOCAL, Actor
from registry.database import Sessions
from registry.keys import revoke_key
from registry.settings import KeyMode, Settings
from registry.tables import AuditRow, KeyRow, ModelRow, Scope
from tests.api.callers import bearer, make_key
from tests.api.conftest import Api
from tests.api.world import World
from tests.conftest import Servers

METHODS = ("GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE", "TRACE")
PARAMETER = re.compile(r"{[^}]+}")
# answers without end
STREAMS = {"/events"}


@pytest.fixture
def guarded(start: Callable[..., Api]) -> Api:
    """A client of an app that asks for keys; it presents none."""
    return start(keys=KeyMode.REQUIRED)


@pytest.fixture
def secrets(sessions: Sessions) -> dict[Scope, str]:
    """A key of each scope."""
    return {scope: make_key(sessions, f"a-{scope}", scope) for scope in Scope}


def templates(routes: list[BaseRoute], prefix: str = "") -> Iterator[tuple[str, set[str]]]:
    """Every path that the app answers, with its methods; of a mount, a path within."""
    for route in routes:
        if isinstance(route, Mount):
            yield f"{prefix}{route.path}/x", {"GET"}
            yield from templates(list(route.routes or []), prefix + route.path)
        elif (included := getattr(route, "original_router", None)) is not None:
            yield from templates(included.routes, prefix)
        elif isinstance(route, Route):
            yield prefix + route.path, set(route.methods or ())


@pytest.fixture(scope="module")
def routes() -> dict[str, set[str]]:
    """Methods by path of everything in the app and in its OpenAPI document."""
    app = create_app(Settings.model_validate({"database_url": "none", "redis_url": "redis://none", "artifacts": "/x"}))
    found: dict[str, set[str]] = {}
    for path, methods in templates(app.router.routes):
        found.setdefault(path, set()).update(methods)
    for path, operations in app.openapi()["paths"].items():
        assert {method.upper() for method in operations} & set(METHODS) <= found[path]
    assert {"/docs", "/openapi.json", "/models/{model}", "/static/x"} <= found.keys()
    return found


def test_every_route_has_a_rule_for_each_of_its_methods(routes: dict[str, set[str]]) -> None:
    stated = {(method, path) for path, methods in RULES.items() for method in methods} | PUBLIC
    answered = {(method, path) for path, methods in routes.items() for method in methods - {"HEAD"}}
    assert {each for each in answered if not each[1].startswith("/static/")} - stated == set()
    assert stated - answered == set()


def test_without_a_key_nothing_answers(guarded: Api, routes: dict[str, set[str]]) -> None:
    asked = 0
    for template in routes:
        path = PARAMETER.sub("x", template)
        for method in METHODS:
            if required_scope(method, path) is None:
                continue
            answer = guarded.request(method, path)
            asked += 1
            assert answer.status_code == 401, (method, path)
            assert answer.headers["www-authenticate"].startswith("Bearer "), (method, path)
            assert answer.headers["content-type"] == "application/problem+json"
            if method != "HEAD":
                assert answer.json()["request_id"] == answer.headers["x-request-id"]
    assert asked > 250


def test_a_key_does_what_its_scope_says_and_no_more(
    guarded: Api, routes: dict[str, set[str]], secrets: dict[Scope, str], world: World
) -> None:
    enough = {Scope.READ: list(Scope), Scope.WRITE: [Scope.WRITE, Scope.ADMIN], Scope.ADMIN: [Scope.ADMIN]}
    for template, answered in routes.items():
        path = PARAMETER.sub("x", template)
        for method in sorted(answered):
            needed = required_scope(method, path)
            if needed is None:
                continue
            for scope in set(Scope) - set(enough[needed]):
                answer = guarded.request(method, path, headers=bearer(secrets[scope]))
                assert answer.status_code == 403, (method, path, scope)
                assert method == "HEAD" or f"`{needed}`" in answer.json()["detail"]
                assert f'scope="{needed}"' in answer.headers["www-authenticate"]
            if path not in STREAMS:
                answer = guarded.request(method, path, headers=bearer(secrets[enough[needed][0]]))
                assert answer.status_code not in {401, 403, 500}, (method, path, answer.text)


def test_what_is_public_is_what_was_meant_to_be() -> None:
    paths = [*RULES, "/healthz", "/readyz", "/session", "/", "", "/x", "/static", "/statics/x", "//static/x"]
    public = {(method, path) for path in paths for method in METHODS if required_scope(method, path) is None}
    assert public == {
        ("GET", "/healthz"),
        ("HEAD", "/healthz"),
        ("GET", "/readyz"),
        ("HEAD", "/readyz"),
        ("POST", "/session"),
        ("DELETE", "/session"),
    }


@pytest.mark.parametrize("method", [*METHODS, "PROPFIND", "get", "CONNECT"])
def test_what_no_rule_names_needs_admin(method: str) -> None:
    for path in ("/new", "/keys/a/b", "/models//", "/models/a/", "/similar/", "//similar/a", "/Models", "models", "*"):
        assert required_scope(method, path) is Scope.ADMIN, path
    for path in ("/keys", "/keys/a", "/audit"):
        assert required_scope(method, path) is Scope.ADMIN, path


SPELLINGS = (
    "/keys/", "//keys", "/keys//", "/./keys", "/similar/../keys", "/%6beys", "/%2e/keys", "/keys%2f", "/%2fkeys",
    "/similar/..%2fkeys", "/similar/%2e%2e/keys", "/%252e%252e/keys", "/similar/%252e%252e%252fkeys", "/KEYS",
    "/keys;x", "/keys%00", "/keys%20", "/static/../keys", "/static/..%2fkeys", "/static/%2e%2e/%2e%2e/keys",
    "/static/..%5c..%5ckeys", "/healthz/../keys", "/healthz/..%2fkeys", "/session/../keys",
)  # fmt: skip


def test_no_spelling_of_a_path_goes_round_its_rule(guarded: Api, secrets: dict[Scope, str]) -> None:
    assert "a-admin" in guarded.get("/keys", headers=bearer(secrets[Scope.ADMIN])).text
    for spelling in SPELLINGS:
        for headers in ({}, bearer(secrets[Scope.READ]), bearer(secrets[Scope.WRITE])):
            # with the host, or httpx takes what follows two slashes for one
            answer = guarded.get(f"http://testserver{spelling}", headers=headers, settle=False, follow_redirects=False)
            assert answer.status_code in {401, 403, 404}, (spelling, answer.text)
            assert "a-admin" not in answer.text


def test_a_route_that_is_added_later_is_not_open(guarded: Api, secrets: dict[Scope, str]) -> None:
    @guarded.app.get("/later")
    def later() -> dict[str, str]:
        return {"secret": "open"}

    assert guarded.get("/later").status_code == 401
    assert guarded.get("/later", headers=bearer(secrets[Scope.WRITE])).status_code == 403
    assert guarded.get("/later", headers=bearer(secrets[Scope.ADMIN])).json() == {"secret": "open"}


def test_what_is_no_key_is_401(guarded: Api) -> None:
    unknown = "Bearer sat_" + "A" * 43
    for value in ("", "Bearer", "Bearer ", "Bearer sat_", "Basic c2F0", "sat_x", unknown, "Bearer \xff" * 9):
        answer = guarded.get("/models", headers={"Authorization": value.encode("latin-1")})
        assert answer.status_code == 401, value
        assert 'error="invalid_token"' in answer.headers["www-authenticate"]


def test_web_sockets_are_closed(guarded: Api) -> None:
    with pytest.raises(WebSocketDisconnect) as closed, guarded.websocket_connect("/models"):
        pass
    assert closed.value.code == 1008


def test_answers_that_are_kept_ahead_of_routing_need_a_key_too(
    guarded: Api, secrets: dict[Scope, str], zoo: World
) -> None:
    headers = bearer(secrets[Scope.READ])
    for _ in range(3):
        assert guarded.get("/similar/vit-a", headers=headers).status_code == 200
    etag = guarded.get("/similar/vit-a", headers=headers).headers["etag"]
    assert guarded.get("/similar/vit-a").status_code == 401
    assert guarded.get("/similar/vit-a", headers={"If-None-Match": etag}).status_code == 401


def test_a_revoked_key_stops_within_two_seconds(guarded: Api, sessions: Sessions) -> None:
    make_key(sessions, "other", Scope.ADMIN)
    headers = bearer(make_key(sessions, "mine", Scope.READ))
    assert guarded.get("/session", headers=headers).json()["name"] == "mine"
    with sessions.begin() as session:  # as another api process would
        revoke_key(session, "mine", actor=LOCAL)
    revoked = time.monotonic()
    while True:
        asked = time.monotonic()
        if guarded.get("/session", headers=headers, settle=False).status_code == 401:
            break
        assert asked - revoked < 2
    assert guarded.get("/session", headers=headers).status_code == 401


def test_an_expired_key_is_refused_by_the_databases_clock(guarded: Api, sessions: Sessions) -> None:
    headers = bearer(make_key(sessions, "short", Scope.READ))
    soon = func.now() + timedelta(seconds=1.5)
    with sessions.begin() as session:
        session.execute(update(KeyRow).where(KeyRow.name == "short").values(expires_at=soon))
    assert guarded.get("/models", headers=headers).status_code == 200
    time.sleep(1.6)
    assert guarded.get("/models", headers=headers).status_code == 401


def test_a_key_works_at_once_when_it_was_made_elsewhere(guarded: Api, sessions: Sessions) -> None:
    for number in range(3):
        headers = bearer(make_key(sessions, f"new-{number}", Scope.READ))
        assert guarded.get("/models", headers=headers).status_code == 200


def test_where_keys_cannot_be_checked_nobody_is_let_in(
    guarded: Api, sessions: Sessions, servers: Servers, settings: Settings
) -> None:
    headers = bearer(make_key(sessions, "mine", Scope.READ))
    assert guarded.get("/models", headers=headers).status_code == 200
    sessions.kw["bind"].dispose()
    servers.postgres.drop_database(str(make_url(settings.database_url).database))
    time.sleep(2)
    answer = guarded.get("/models", headers=headers, settle=False)
    assert answer.status_code == 503
    assert int(answer.headers["retry-after"]) > 0
    assert guarded.get("/healthz", settle=False).status_code == 200


def test_when_a_key_was_used_is_written_once_a_minute(guarded: Api, sessions: Sessions) -> None:
    headers = bearer(make_key(sessions, "mine", Scope.READ))

    def last_used() -> object:
        with sessions.begin() as session:
            return session.scalar(select(KeyRow.last_used_at).where(KeyRow.name == "mine"))

    assert last_used() is None
    guarded.get("/models", headers=headers)
    deadline = time.monotonic() + 10
    while (first := last_used()) is None:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    for _ in range(20):
        guarded.get("/models", headers=headers)
    guarded.app.state.services.keys._thread.submit(lambda: None).result()
    assert last_used() == first


def test_a_model_belongs_to_the_team_of_the_key_that_registered_it(
    guarded: Api, sessions: Sessions, zoo: World
) -> None:
    with sessions.begin() as session:
        session.execute(update(ModelRow).values(owner="vision"))
    others = bearer(make_key(sessions, "theirs", Scope.WRITE, team="speech"))
    for method, path in (("DELETE", "/models/vit-a"), ("POST", "/models/vit-a/retry")):
        answer = guarded.request(method, path, headers=others | {"If-Match": "*"})
        assert answer.status_code == 403, (method, path)
        assert "'vision'" in answer.json()["detail"]
    assert guarded.get("/models/vit-a", headers=others).status_code == 200
    assert guarded.get("/models/vit-a/checkpoint", headers=others).status_code == 403
    owners = bearer(make_key(sessions, "ours", Scope.WRITE))
    assert guarded.delete("/models/vit-a", headers=owners | {"If-Match": "*"}).status_code == 204
    admins = bearer(make_key(sessions, "root", Scope.ADMIN, team="operations"))
    assert guarded.delete("/models/vit-b", headers=admins | {"If-Match": "*"}).status_code == 204
    with sessions.begin() as session:
        rows = session.execute(select(AuditRow.actor, AuditRow.subject).where(AuditRow.action == "model.delete"))
        assert rows.all() == [("ours", "vit-a"), ("root", "vit-b")]


def test_what_nobody_owns_is_the_administrators(guarded: Api, sessions: Sessions, zoo: World) -> None:
    headers = bearer(make_key(sessions, "mine", Scope.WRITE)) | {"If-Match": "*"}
    answer = guarded.delete("/models/vit-a", headers=headers)
    assert answer.status_code == 403
    assert "no team" in answer.json()["detail"]


def test_loopback_needs_no_key_but_refuses_a_proxy(api: Api, world: World) -> None:
    assert api.get("/models").status_code == 200
    for name in ("X-Forwarded-For", "X-Forwarded-Proto", "Forwarded", "Via", "X-Real-IP"):
        answer = api.get("/models", headers={name: "192.0.2.1"})
        assert answer.status_code == 403
        assert "SAT_KEYS=required" in answer.json()["detail"]


def test_scopes_include_the_ones_before(secrets: dict[Scope, str]) -> None:
    ranks = list(Scope)
    for held in ranks:
        for needed in ranks:
            may = Actor(name="a", team="t", scope=held).may(needed)
            assert may == (ranks.index(held) >= ranks.index(needed))


def test_every_answer_carries_the_security_headers(guarded: Api, secrets: dict[Scope, str], world: World) -> None:
    @guarded.app.get("/broken")
    def broken() -> None:
        raise RuntimeError

    admin = bearer(secrets[Scope.ADMIN])
    with capture_logs():  # a traceback is slow to print
        fault = guarded.get("/broken", headers=admin)
    asked = [
        guarded.get("/models"), guarded.get("/healthz"), guarded.get("/nowhere", headers=admin), fault,
        guarded.post("/keys", headers=admin), guarded.get("/docs", headers=admin),
        guarded.get("/static/docs.js"), guarded.get("/similar/none", headers=admin),
        guarded.post("/models", headers=admin | {"Origin": "https://elsewhere.example"}),
        guarded.post("/models", headers=admin | {"Content-Length": "99999999"}),
    ]  # fmt: skip
    assert {answer.status_code for answer in asked} >= {200, 401, 403, 404, 413, 422, 500}
    for answer in asked:
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "script-src 'unsafe" not in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["x-frame-options"] == "DENY"
        assert answer.headers["referrer-policy"] == "same-origin"
        assert "access-control-allow-origin" not in answer.headers


def test_pages_of_other_origins_change_nothing_whatever_the_method(guarded: Api, secrets: dict[Scope, str]) -> None:
    headers = bearer(secrets[Scope.ADMIN]) | {"Origin": "https://elsewhere.example"}
    for method in set(HTTPMethod) - {"GET", "HEAD", "OPTIONS"}:
        answer = guarded.request(method, "/keys/a-read", headers=headers)
        assert answer.status_code == 403, method
        assert answer.json()["title"] == "Foreign page"


def test_the_documentation_needs_no_other_host(guarded: Api, secrets: dict[Scope, str]) -> None:
    page = guarded.get("/docs", headers=bearer(secrets[Scope.READ])).text
    addresses = re.findall(r'(?:src|href)="([^"]+)"', page)
    assert len(addresses) == 4
    for address in addresses:
        assert address.startswith("/static/")
        assert guarded.get(address).status_code == 200
    assert "<script>" not in page


class TestSession:
    """A page's cookie."""

    def sign_in(self, client: TestClient, key: str) -> None:
        assert client.post("/session", json={"key": key}).status_code == 204

    def test_a_key_is_exchanged_for_a_cookie_that_scripts_cannot_read(
        self, guarded: Api, secrets: dict[Scope, str]
    ) -> None:
        answer = guarded.post("/session", json={"key": secrets[Scope.WRITE]})
        words = {word.strip().lower() for word in answer.headers["set-cookie"].split(";")}
        assert {"httponly", "samesite=strict", "path=/"} <= words
        assert "secure" not in words  # HTTP
        assert guarded.get("/session").json() == {"name": "a-write", "team": "vision", "scope": "write"}
        assert guarded.get("/models").status_code == 200
        assert guarded.delete("/session").status_code == 204
        assert guarded.get("/models").status_code == 401

    def test_over_https_the_cookie_is_secure(self, guarded: Api, secrets: dict[Scope, str]) -> None:
        answer = guarded.post("https://testserver/session", json={"key": secrets[Scope.READ]})
        assert "Secure" in answer.headers["set-cookie"]

    def test_a_change_with_the_cookie_needs_the_origin_of_this_server(
        self, guarded: Api, secrets: dict[Scope, str]
    ) -> None:
        self.sign_in(guarded, secrets[Scope.ADMIN])
        for method in ("POST", "PUT", "PATCH", "DELETE"):
            assert guarded.request(method, "/keys/none").status_code == 403
            foreign = guarded.request(method, "/keys/none", headers={"Origin": "https://elsewhere.example"})
            assert foreign.status_code == 403
        assert guarded.delete("/keys/none", headers={"Origin": "http://testserver"}).status_code == 404

    def test_a_wrong_key_is_given_no_cookie(self, guarded: Api) -> None:
        for key in ("sat_" + "A" * 43, "nonsense", ""):
            answer = guarded.post("/session", json={"key": key})
            assert answer.status_code == 401
            assert "set-cookie" not in answer.headers

    def test_a_browser_is_shown_a_form_that_brings_it_where_it_wanted(
        self, guarded: Api, secrets: dict[Scope, str]
    ) -> None:
        shown = guarded.get('/docs?a="><script>', headers={"Accept": "text/html,*/*"})
        assert shown.status_code == 401
        assert shown.headers["content-type"].startswith("text/html")
        assert "<script>" not in shown.text
        assert 'action="/session"' in shown.text
        form = {"key": secrets[Scope.READ], "next": "/docs?x=1"}
        answer = guarded.post("/session", data=form, follow_redirects=False)
        assert (answer.status_code, answer.headers["location"]) == (303, "/docs?x=1")
        wrong = guarded.post("/session", data=form | {"key": "sat_x"}, headers={"Accept": "text/html"})
        assert (wrong.status_code, "unknown" in wrong.text) == (401, True)

    def test_a_form_sends_nobody_elsewhere(self, guarded: Api, secrets: dict[Scope, str]) -> None:
        for next_ in ("//elsewhere.example", "https://elsewhere.example", "/\\elsewhere.example", "/a\r\nX: y", "docs"):
            form = {"key": secrets[Scope.READ], "next": next_}
            answer = guarded.post("/session", data=form, follow_redirects=False)
            assert (answer.status_code, answer.headers["location"]) == (303, "/docs")
