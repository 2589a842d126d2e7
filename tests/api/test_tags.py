"""Every GET route of the OpenAPI document answers with a tag, and 304 to who has that answer."""

import time
from typing import Any

from tests.api.conftest import Api
from tests.api.light_worker import worker
from tests.api.world import World

# what stands for the parameters that a route needs
GIVEN = {
    "model": "resnet-a",
    "a": "resnet-a",
    "b": "vit-a",
    "student": "resnet-a",
    "comparisons": "digits/pgd,digits/pgd",
    "alias": "champion",
    "image_set": "digits",
    "protocol": "pgd",
    "worker": 1,
}
EVENTS = "text/event-stream"  # no answer that ends
# these need something that this registry does not have: webhooks, stored files
NOT_HERE = {
    "/webhooks/{webhook}",
    "/webhooks/{webhook}/deliveries",
    "/models/{model}/checkpoint",
    "/image-sets/{name}/content",
    "/uploads/{upload}",
}
# what they tell changes while one looks: ages, seconds, counters
MOVING = {"/metrics", "/workers", "/workers/{worker}", "/jobs", "/readyz", "/doctor"}


def routes(api: Api) -> dict[str, dict[str, Any]]:
    document = api.get("/openapi.json").json()
    return {
        path: operations["get"]
        for path, operations in document["paths"].items()
        if "get" in operations and EVENTS not in operations["get"]["responses"]["200"].get("content", {})
    }


def test_every_get_route_has_a_tag_and_answers_304(api: Api, zoo: World) -> None:
    for name in ("vit-c", "resnet-c", "mixer-c"):
        zoo.add_model(name, aliases=("champion",) if name == "vit-c" else ())
    zoo.measure()
    found, without = routes(api), []
    assert len(found) > 25
    with worker(api, zoo):
        for path, operation in found.items():
            given = GIVEN | ({"name": "digits"} if path.startswith("/image-sets") else {})
            query = {each["name"]: given[each["name"]] for each in operation.get("parameters", [])
                     if each["in"] == "query" and each.get("required")}  # fmt: skip
            url = path.format(**(given | {"webhook": 1, "upload": "none"}))
            answer = api.get(url, params=query)
            while answer.status_code == 202:
                time.sleep(0.1)
                answer = api.get(url, params=query)
            if answer.status_code != 200:
                without.append(path)
                continue
            assert answer.headers["etag"].startswith('"'), path
            again = api.get(url, params=query, headers={"If-None-Match": f'"other", W/{answer.headers["etag"]}'})
            if path not in MOVING:
                assert (again.status_code, again.content) == (304, b""), path
                assert again.headers["etag"] == answer.headers["etag"], path
            other = api.get(url, params=query, headers={"If-None-Match": '"other"'})
            assert other.status_code == 200, path
            assert path in MOVING or other.content == answer.content, path
    assert set(without) <= NOT_HERE


def test_errors_and_pending_answers_are_never_304(api: Api, zoo: World) -> None:
    assert "etag" not in api.get("/models/nobody").headers
    assert api.get("/models/nobody", headers={"If-None-Match": "*"}).status_code == 404
    assert api.get("/map?wait=0", headers={"If-None-Match": "*"}).status_code == 202
