"""Requests that no well-meaning program sends: each is refused with a sentence, none is a fault of the registry."""

import base64
import json
from collections.abc import Callable
from tempfile import gettempdir

import numpy as np
import pytest
from safetensors.numpy import save
from sqlalchemy import func, select

from api.app import create_app
from api.openapi import operations
from registry.settings import Settings
from registry.tables import ModelRow
from tests.api.conftest import Api
from tests.api.test_models import METADATA, register
from tests.api.world import World

# every list there is: a route that takes a cursor
LISTS = sorted(
    path
    for path, method, operation in operations(
        create_app(
            Settings.model_validate({"database_url": "none", "redis_url": "redis://none", "artifacts": gettempdir()})
        ).openapi()
    )
    if method == "get" and any(parameter["name"] == "cursor" for parameter in operation.get("parameters", ()))
)


def cursor(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode()


def refused(answer) -> str:
    assert (answer.status_code, answer.headers["content-type"]) == (422, "application/problem+json"), answer.text
    detail: str = answer.json()["detail"]
    return detail


def test_the_lists_are_all_of_them() -> None:
    assert {"/aliases", "/audit", "/keys", "/webhooks", "/webhooks/{webhook}/deliveries"} <= set(LISTS)


@pytest.fixture
def webhook(start: Callable[..., Api], world: World) -> tuple[Api, str]:
    """An app that knows a webhook, and the webhook's id."""
    api = start(webhook_hosts=("hooks.example",))
    made = api.post("/webhooks", json={"url": "https://hooks.example/a", "events": ["model.measured"]})
    assert made.status_code == 201, made.text
    return api, str(made.json()["id"])


@pytest.mark.parametrize("listed", LISTS)
def test_a_cursor_of_a_position_that_no_list_has_is_422(webhook: tuple[Api, str], world: World, listed: str) -> None:
    api, hook = webhook
    path = listed.format(model="resnet-a", webhook=hook)
    world.add_model("resnet-a")
    numbers = (2**63, 10**30, -1, -(10**30), True, 1.5)
    texts = ("\ud800", "a\udfff", "a\0", ["\ud800", "a", 1], ["\0", "a", 1], {"\ud800": 1})
    for position in (*numbers, *texts, [[]], [[[1]], 2], {}):
        detail = refused(api.get(f"{path}?cursor={cursor(position)}"))
        assert "`cursor` is not one of this list" in detail


def test_a_cursor_at_the_end_of_what_a_list_can_hold_is_an_empty_page(api: Api, world: World) -> None:
    for path, position in (("/jobs", 2**63 - 1), ("/workers", 2**31 - 1), ("/protocols", 2**31 - 1)):
        assert api.get(f"{path}?cursor={cursor(position)}").json()["items"] == []
    assert "`cursor`" in refused(api.get(f"/workers?cursor={cursor(2**31)}"))


def test_a_name_with_u0000_is_refused_on_every_route(api: Api, world: World) -> None:
    for path in ("/image-sets/%00", "/image-sets/%00/content", "/models/%00", "/models/%00/checkpoint"):
        assert "U+0000" in refused(api.get(path)), path
    for path in ("/similar/a%00", "/pairs/a/%00", "/pairs/%00/a"):
        assert "U+0000" in refused(api.get(path)), path
    assert "U+0000" in refused(api.delete("/models/%00"))
    assert "U+0000" in refused(api.post("/models/%00/retry"))
    for path in ("/comparisons/%00/x", "/comparisons/x/%00", "/comparisons/digits/pg%00d"):
        assert "U+0000" in refused(api.patch(path, json={"state": "paused"}))
    for path in ("/matrix?image_set=%00", "/models?protocol=%00", "/recommend/teacher?student=%00"):
        assert api.get(path).status_code == 404, path


NUL = [
    {"description": "a\0b"},
    {"license": "\0"},
    {"tags": ["fine", "\0"]},
    {"classes": ["no", "y\0es"]},
    {"architecture": "test\0"},
    {"model_args": {"global_pool": "\0"}},
    {"model_args": {"\0": 1}},
    {"name": "a\0"},
    {"supersedes": "a\0"},
]


@pytest.mark.parametrize("change", NUL)
def test_text_with_u0000_is_refused_wherever_a_model_is_declared(api: Api, world: World, change: dict) -> None:
    refused(register(api, **change))
    refused(api.post("/models", json=METADATA | {"pretrained": "a1_in1k"} | change))
    with world.sessions() as session:
        assert session.scalar(select(func.count()).select_from(ModelRow)) == 0


def test_text_with_u0000_is_refused_in_every_other_body(api: Api, world: World) -> None:
    content = save({"images": np.zeros((9, 8, 8, 1), dtype=np.uint8), "labels": np.zeros(9, dtype=np.int64)})
    for change in ({"description": "\0"}, {"classes": ["a", "\0"]}, {"task": "\0"}):
        form = {"metadata": json.dumps({"name": "a", "classes": ["a", "b"]} | change)}
        refused(api.post("/image-sets", data=form, files={"content": ("a.safetensors", content)}))
    for change in ({"description": "\0"}, {"attack": "\0"}, {"start": "\0"}, {"loss": "\0"}, {"\0": 1}, {"rate": "\0"}):
        refused(api.post("/protocols", json={"name": "a"} | change))
    refused(api.post("/comparisons", json={"image_set": "\0", "protocol": "pgd"}))
    refused(api.patch("/comparisons/digits/pgd", json={"state": "\0"}))


@pytest.mark.parametrize(
    "change",
    [
        {"input": {"size": 32, "channels": 1, "mean": [1e308], "std": [0.5]}},
        {"input": {"size": 32, "channels": 1, "mean": [0.5], "std": [1e-300]}},
        {"input": {"size": 10**30, "channels": 1, "mean": [0.5], "std": [0.5]}},
        {"input": {"size": 1025, "channels": 1, "mean": [0.5], "std": [0.5]}},
        {"input": {"size": 1024, "channels": 1, "mean": [0.5], "std": [0.5]}, "model_args": {"patch_size": 2}},
        {"model_args": {"img_size": 1024, "patch_size": 2}},
        {"model_args": {"window_size": 64}},
        {"model_args": {"patch_size": 10**30}},
        {"model_args": {"patch_size": [10**400]}},
        {"model_args": {"drop_rate": 1e308}},
        {"expected_accuracy": 1e308},
    ],
)
def test_a_number_that_no_model_has_is_refused(api: Api, world: World, change: dict) -> None:
    refused(register(api, **change))


@pytest.mark.parametrize(
    "value", ["1e999999999", "9" * 5000, "1/0", "1/00", "1e-99999", 10**400, True, "1_0e1_000_000"]
)
def test_a_fraction_that_would_fill_the_memory_is_refused(api: Api, world: World, value: object) -> None:
    for field in ("epsilon", "step_size"):
        assert field in refused(api.post("/protocols", json={"name": "a", field: value}))


def test_bodies_that_break_parsers_are_refused(api: Api, world: World) -> None:
    half = (b'{"name": "\\ud800"}', b'{"\\ud800": 1, "name": "a"}', b'{"name": "a", "x": "\\ud800"}')
    attack = b'{"name": "a", "attack": "mi-fgsm", "\\ud800": 1}'
    for body in (b"[" * 100_000, b"9" * 5000, b"\xff", *half, attack, b'{"name": "a", "momentum": "\\ud800"}'):
        answer = api.post("/protocols", content=body, headers={"Content-Type": "application/json"})
        assert answer.status_code in {400, 422}, (body[:9], answer.text)
        assert answer.headers["content-type"] == "application/problem+json"
        answer = api.post("/models", content=body, headers={"Content-Type": "application/json"})
        assert answer.status_code == 422, body[:9]


@pytest.mark.parametrize(
    "query", ["max_gmacs=inf", "max_gmacs=1e308", "max_gmacs=nan", f"max_parameters={10**30}", "weight=nan", "wait=inf"]
)
def test_a_limit_that_is_no_number_of_this_world_is_refused(api: Api, zoo: World, query: str) -> None:
    assert query.partition("=")[0] in refused(api.get(f"/recommend/ensemble?{query}"))


def test_a_value_that_only_the_database_refuses_is_422_too(api: Api, world: World) -> None:
    @api.app.get("/beyond")
    def beyond() -> None:
        with world.sessions() as session:
            session.get(ModelRow, 2**40)

    assert "cannot be stored" in refused(api.get("/beyond"))
