"""Every operation of the OpenAPI document shows an answer, which is one of a real registry, and names its headers.

SAT_WRITE_EXAMPLES=1 pytest tests/api/test_examples.py   writes api/openapi_examples.json anew
"""

import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
from httpx import Response

import api as package
from api.openapi import operations
from api.openapi_examples import JSON
from registry.tables import ModelState
from tests.api.conftest import Api
from tests.api.light_worker import worker
from tests.api.test_measuring import CONTENT, add_images
from tests.api.test_models import register
from tests.api.world import World

KEPT_ITEMS = 3  # of each list, in what is written
BINARY = {"application/octet-stream", "application/x-npz", "application/vnd.apache.parquet"}
# said of every good answer, or sent by some of these alone
HEADERS = ("Location", "Retry-After", "ETag", "Upload-Offset")
ANY = {"If-Match": "*"}

Answers = dict[tuple[str, str], Response]


@pytest.fixture
def document(api: Api) -> dict[str, Any]:
    """The document as it is served."""
    found: dict[str, Any] = api.get("/openapi.json").json()
    return found


def test_every_good_answer_has_an_example_of_its_own_schema(document: dict[str, Any]) -> None:
    shown = 0
    for path, method, operation in operations(document):
        assert operation["summary"], (method, path)
        for status, response in _good(operation):
            for media_type, content in response.get("content", {}).items():
                if media_type not in BINARY:
                    where = (method, path, status, media_type)
                    assert "example" in content, where
                    _validate(document, content.get("schema", {}), content["example"], where)
                    shown += 1
    assert shown > 50


def test_every_parameter_and_body_has_an_example(document: dict[str, Any]) -> None:
    for path, method, operation in operations(document):
        for parameter in operation.get("parameters", ()):
            schema, where = parameter["schema"], (method, path, parameter["name"])
            given = [parameter["example"]] if "example" in parameter else schema.get("examples", [])
            given = given or ([schema["default"]] if "default" in schema else [])
            assert given or parameter["name"] == "cursor" or "enum" in _resolved(document, schema), where
            for value in given:
                _validate(document, schema, value, where)
        for media_type, content in operation.get("requestBody", {}).get("content", {}).items():
            if media_type not in BINARY:
                assert _body_example(document, content), (method, path, media_type)


def test_real_answers_are_as_the_document_says(start: Callable[..., Api], zoo: World, document: dict[str, Any]) -> None:
    given = dict(_ask_everything(start(webhook_hosts=("hooks.example.com",)), zoo))
    found = {operation["operationId"]: operation for _, _, operation in operations(document)}
    assert {name for name, _ in given} == set(found) - {"follow_model", "follow_registry"}
    wrong = []
    for (name, status), answer in given.items():
        assert str(answer.status_code) == status, (name, answer.text)
        response = found[name]["responses"][status]
        media_type = answer.headers.get("content-type", "").partition(";")[0] if answer.content else ""
        if media_type == JSON:
            _validate(document, response["content"][JSON]["schema"], answer.json(), (name, status))
        assert not media_type or media_type in response["content"], (name, media_type)
        sent = {header for header in HEADERS if header.lower() in answer.headers}
        if sent != (said := set(response["headers"]) & set(HEADERS)):
            wrong.append((name, status, sent, said))
    assert not wrong
    if "SAT_WRITE_EXAMPLES" in os.environ:
        _write(given)


def test_repeated_requests_are_marked_as_the_document_says(api: Api, zoo: World, document: dict[str, Any]) -> None:
    key = {"Idempotency-Key": "1"}
    body = {"name": "strong", "epsilon": "16/255"}
    assert "idempotency-replayed" not in api.post("/protocols", json=body, headers=key).headers
    assert api.post("/protocols", json=body, headers=key).headers["idempotency-replayed"] == "true"
    for path, method, operation in operations(document):
        marked = {"Idempotency-Replayed" in response["headers"] for _, response in _good(operation)}
        assert marked == {method == "post" and path != "/session"}, (method, path)


def _ask_everything(api: Api, zoo: World) -> Iterator[tuple[tuple[str, str], Response]]:
    """A good answer of every operation, by its name and status."""
    for name in ("vit-c", "resnet-c", "mixer-c"):
        zoo.add_model(name)
    zoo.measure()
    yield from _computed(api, zoo)
    zoo.add_model("broken", state=ModelState.FAILED)
    yield ("retry_failed_model", "202"), api.post("/models/broken/retry")
    for name, path in (
        ("list_all_models", "/models"), ("get_model", "/models/resnet-a"), ("get_card", "/models/resnet-a/card"),
        ("list_similar", "/similar/resnet-a?k=3"), ("list_all_pairs", "/pairs?limit=3"),
        ("get_pair", "/pairs/resnet-a/vit-a"), ("get_matrix", "/matrix"),
        ("get_agreement", "/agreement?comparisons=digits/pgd,digits/pgd"),
        ("recommend_teacher", "/recommend/teacher?student=vit-a"), ("list_all_image_sets", "/image-sets"),
        ("get_one_image_set", "/image-sets/digits"), ("list_all_protocols", "/protocols"),
        ("list_attacks", "/protocols/attacks"), ("list_all_comparisons", "/comparisons"),
        ("get_comparison", "/comparisons/digits/pgd"), ("list_all_workers", "/workers"), ("get_worker", "/workers/1"),
        ("get_session", "/session"), ("get_health", "/healthz"), ("get_readiness", "/readyz"),
        ("get_metrics", "/metrics"), ("examine_registry", "/doctor"),
    ):  # fmt: skip
        yield (name, "200"), api.get(path)
    yield from _changed(api)
    yield from _changed_for_administrators(api)


def _computed(api: Api, zoo: World) -> Iterator[tuple[tuple[str, str], Response]]:
    analyses = {"get_clusters": "/clusters", "get_map": "/map", "get_importance": "/importance"}
    for name, path in analyses.items():
        yield (name, "202"), api.get(f"{path}?wait=0")
    with worker(api, zoo):
        for name, path in (analyses | {"recommend_ensemble": "/recommend/ensemble?n=3"}).items():
            deadline = time.monotonic() + 60
            while (answer := api.get(f"{path}{'&' if '?' in path else '?'}wait=10")).status_code == 202:
                assert time.monotonic() < deadline
            yield (name, "200"), answer


def _changed(api: Api) -> Iterator[tuple[tuple[str, str], Response]]:
    new = {"name": "new", "architecture": "resnet18", "classes": ["no", "yes"]}
    planned = {"models": [new | {"checkpoint_bytes": 46_000_000}]}
    yield ("plan_registration", "200"), api.post("/plan", json=planned)
    yield ("create_model", "202"), register(api, name="new")
    yield ("get_checkpoint", "200"), api.get("/models/new/checkpoint")
    yield ("patch_model", "200"), api.patch("/models/resnet-a", json={"tags": ["baseline"]}, headers=ANY)
    yield ("put_alias", "201"), api.put("/aliases/champion", json={"model": "resnet-a"})
    yield ("put_alias", "200"), api.put("/aliases/champion", json={"model": "resnet-b"})
    yield ("get_one_alias", "200"), api.get("/aliases/champion")
    yield ("list_all_aliases", "200"), api.get("/aliases")
    yield ("remove_alias", "204"), api.delete("/aliases/champion")
    yield ("remove_model", "204"), api.delete("/models/new")
    yield ("restore_deleted_model", "202"), api.post("/models/new/restore")
    begun = api.post("/uploads", json={"bytes": len(CONTENT)})
    yield ("begin", "201"), begun
    path = begun.headers["location"]
    piece = {"Upload-Offset": "0", "Content-Type": "application/octet-stream"}
    yield ("append", "200"), api.patch(path, content=CONTENT[:64], headers=piece)
    yield ("show", "200"), api.get(path)
    yield ("give_up", "204"), api.delete(path)
    made = api.post("/webhooks", json={"url": "https://hooks.example.com/sat", "events": ["model.measured"]})
    yield ("add_webhook", "201"), made
    yield ("list_all_webhooks", "200"), api.get("/webhooks")
    yield ("get_one_webhook", "200"), api.get(made.headers["location"])
    yield ("list_all_deliveries", "200"), api.get(f"{made.headers['location']}/deliveries")
    yield ("remove_webhook", "204"), api.delete(made.headers["location"])


def _changed_for_administrators(api: Api) -> Iterator[tuple[tuple[str, str], Response]]:
    yield ("add_image_set", "201"), add_images(api)
    yield ("add_image_set", "200"), add_images(api)
    yield ("get_image_set_content", "200"), api.get("/image-sets/small/content")
    gentle = {"name": "gentle", "attack": "mi-fgsm", "epsilon": "4/255", "momentum": 1}
    yield ("add_protocol", "201"), api.post("/protocols", json=gentle)
    compared = {"image_set": "digits", "protocol": "gentle"}
    yield ("add_comparison", "201"), api.post("/comparisons", json=compared)
    yield ("patch_comparison", "200"), api.patch("/comparisons/digits/gentle", json={"state": "measuring"})
    yield ("list_all_jobs", "200"), api.get("/jobs")
    yield ("patch_worker", "200"), api.patch("/workers/1", json={"wish": "pause"})
    made = api.post("/keys", json={"name": "ci", "scope": "write", "team": "vision"})
    yield ("make_key", "201"), made
    yield ("sign_in", "204"), api.post("/session", json={"key": made.json()["key"]})
    yield ("list_all_keys", "200"), api.get("/keys")
    yield ("remove_key", "204"), api.delete("/keys/ci")
    yield ("list_all_audit", "200"), api.get("/audit")
    yield ("collect_garbage", "200"), api.post("/gc?dry_run=true")
    yield ("sign_out", "204"), api.delete("/session")


def _good(operation: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    return ((status, response) for status, response in operation["responses"].items() if status.startswith("2"))


def _validate(document: dict[str, Any], schema: dict[str, Any], value: Any, where: object) -> None:
    complaints = list(jsonschema_rs.iter_errors({**schema, "components": document["components"]}, value))
    assert not complaints, (where, [str(each)[:300] for each in complaints])


def _resolved(document: dict[str, Any], schema: dict[str, Any]) -> str:
    """The schema with what it refers to, as text."""
    schemas = document["components"]["schemas"]
    return str(schema) + "".join(str(schemas[name]) for name in schemas if f"schemas/{name}'" in str(schema))


def _body_example(document: dict[str, Any], content: dict[str, Any]) -> bool:
    schema = content["schema"]
    shown = document["components"]["schemas"].get(schema.get("$ref", "").rpartition("/")[2], schema)
    return "example" in content or "examples" in shown or "examples" in str(shown) or "$ref" in str(shown)


def _write(given: Answers) -> None:
    answers: dict[str, dict[str, Any]] = {}
    for (name, status), answer in sorted(given.items()):
        if answer.content and answer.headers["content-type"] == JSON:
            answers.setdefault(name, {})[status] = _shortened(answer.json())
    answers["make_key"]["201"]["key"] = "sat_…"
    answers["add_webhook"]["201"]["secret"] = "0f" * 32
    text = json.dumps(answers, indent=1, ensure_ascii=False) + "\n"
    (Path(package.__file__).parent / "openapi_examples.json").write_text(text, encoding="utf-8")


def _shortened(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _shortened(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_shortened(each) for each in value[:KEPT_ITEMS]]
    return value
