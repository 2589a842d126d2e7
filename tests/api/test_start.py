"""GET /: a page that says what is there, and runs nothing."""

from collections.abc import Callable

from registry.database import Sessions
from registry.settings import KeyMode
from registry.tables import Scope
from tests.api.callers import bearer, make_key
from tests.api.conftest import Api
from tests.api.world import World


def test_the_start_page_says_what_the_registry_holds(api: Api, zoo: World) -> None:
    zoo.add_received("waiting")
    page = api.get("/")
    assert page.status_code == 200
    assert page.headers["content-type"].startswith("text/html")
    assert "7 models, 6 of them prepared" in page.text
    assert "digits/pgd (measuring)" in page.text
    assert "curl 'http://testserver/similar/mixer-a?k=3'" in page.text
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "script" not in policy + page.text
    for linked in ("/docs", "/openapi.json", "/static/sign-in.css"):
        assert f'"{linked}"' in page.text
        assert api.get(linked).status_code == 200


def test_an_empty_registry_says_so(api: Api) -> None:
    page = api.get("/").text
    assert "0 models" in page
    assert "Nothing is compared yet" in page


def test_where_keys_are_asked_for_the_page_shows_where_they_go(start: Callable[..., Api], sessions: Sessions) -> None:
    guarded = start(keys=KeyMode.REQUIRED)
    assert guarded.get("/", headers={"Accept": "text/html"}).status_code == 401
    page = guarded.get("/", headers=bearer(make_key(sessions, "mine", Scope.READ)))
    assert "curl -H 'Authorization: Bearer sat_…' http://testserver/models" in page.text
