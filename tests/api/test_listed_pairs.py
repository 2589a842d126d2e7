"""GET /pairs: each recorded pair once, as GET /pairs/<a>/<b> has it, whatever is asked for."""

from collections.abc import Callable, Iterator
from itertools import combinations
from typing import Any

import pytest

from tests.api.conftest import Api
from tests.api.world import World


def pages(api: Api, query: str = "") -> Iterator[Any]:
    path = f"/pairs?limit=4{query}"
    while path:
        answer = api.get(path)
        assert answer.status_code == 200, answer.text
        yield answer.json()
        path = answer.json()["next"]


def listed(api: Api, query: str = "") -> list[Any]:
    found = list(pages(api, query))
    items = [item for page in found for item in page["items"]]
    assert {page["total"] for page in found} == {len(items)}
    return items


def test_every_pair_is_listed_once_as_it_is_in_full(api: Api, zoo: World) -> None:
    items = listed(api)
    assert [(item["a"], item["b"]) for item in items] == list(combinations(sorted(zoo.networks), 2))
    for item in items:
        whole = api.get(f"/pairs/{item['a']}/{item['b']}").json()
        for field in ("sat", "percent", "interval", "n", "obtained", "direction", "rung", "flags"):
            assert item[field] == whole[field], field
        for side in ("a_fools_b", "b_fools_a"):
            assert item[side] == whole["fooled"][side]["rate"]


def test_what_is_not_measured_is_not_listed(api: Api, zoo: World) -> None:
    before = listed(api)
    zoo.add_model("aaa")
    zoo.add_received("waiting")
    assert listed(api) == before


@pytest.mark.parametrize(
    ("query", "holds"),
    [
        ("&model=vit-a", lambda item: "vit-a" in (item["a"], item["b"])),
        ("&model=champion&obtained=measured", lambda item: "vit-b" in (item["a"], item["b"])),
        ("&obtained=one-sided", lambda item: item["obtained"] == "one-sided"),
        ("&flag=at%20floor", lambda item: "at floor" in item["flags"]),
        ("&flag=no%20transfer%20beyond%20noise", lambda item: "no transfer beyond noise" in item["flags"]),
        ("&flag=same%20network", lambda item: "same network" in item["flags"]),
        ("&min_sat=3.5&max_sat=4", lambda item: 3.5 <= (item["sat"] or 0) <= 4),
    ],
)
def test_filters_are_those_of_brute_force(api: Api, zoo: World, query: str, holds: Callable[[Any], bool]) -> None:
    one, other = zoo.add_model("resnet-new", accuracy=1), zoo.add_model("vit-new", accuracy=1)
    zoo.transfer(one, other, rate=0.0)
    zoo.transfer(zoo.networks["mixer-a"], other)
    zoo.add_model("vit-twin", shares="vit-a", aliases=())
    api.put("/aliases/champion", json={"model": "vit-b"})
    wanted = [item for item in listed(api) if holds(item) and ("obtained=m" not in query or not item["direction"])]
    assert listed(api, query) == wanted
    assert wanted


def test_a_pair_that_is_measured_meanwhile_moves_no_page(api: Api, zoo: World) -> None:
    first = next(pages(api))
    zoo.add_model("aaa")
    zoo.measure()
    rest, path = [], first["next"]
    while path:
        page = api.get(path).json()
        rest += page["items"]
        path = page["next"]
    seen = [(item["a"], item["b"]) for item in first["items"] + rest]
    old = sorted(name for name in zoo.networks if name != "aaa")
    assert [pair for pair in seen if "aaa" not in pair] == list(combinations(old, 2))


def test_a_cursor_of_another_list_and_an_unknown_model_are_refused(api: Api, zoo: World) -> None:
    cursor = api.get("/similar/vit-a?k=1").json()["next"].partition("cursor=")[2]
    assert api.get(f"/pairs?cursor={cursor}").status_code == 422
    assert api.get("/pairs?model=nobody").status_code == 404
    assert api.get("/pairs?model=a%00").status_code == 422
