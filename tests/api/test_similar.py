"""GET /similar: what the pairs' rows say, in the promised order, with what is missing."""

import pytest

from api.paging import encode_cursor
from registry.access import LOCAL
from registry.models import delete_model
from registry.tables import ModelState
from sat_engine.scores import score
from tests.api.conftest import Api, eventually
from tests.api.world import World


@pytest.mark.parametrize("order", ["nearest", "farthest"])
def test_neighbours_are_those_of_brute_force_over_the_stored_bits(api: Api, zoo: World, order: str) -> None:
    sign = -1 if order == "nearest" else 1
    for name, network in zoo.networks.items():
        expected = []
        for other, other_network in zoo.networks.items():
            counted = zoo.counts(network, other_network)
            if other != name and counted is not None:
                expected.append((sign * score(counted[0]).sat, other, score(counted[0]), counted[0].n))
        answer = api.get(f"/similar/{name}", params={"k": 200, "order": order}).json()
        assert [(item["model"], item["n"]) for item in answer["items"]] == [
            (other, n) for _, other, _, n in sorted(expected, key=lambda each: each[:2])
        ]
        by_name = {other: found for _, other, found, _ in expected}
        for item in answer["items"]:
            found = by_name[item["model"]]
            assert item["sat"] == pytest.approx(found.sat)
            assert item["interval"] == pytest.approx(found.interval)
            assert item["percent"] == pytest.approx(100 * (item["fools"] + item["fooled_by"]) / 2)
            assert (item["obtained"], item["rung"], item["direction"]) == ("measured", 1, None)
        assert (answer["missing"], answer["next"], answer["comparison"]) == (0, None, "digits/pgd")


def test_fools_is_the_models_attack_on_the_other(api: Api, world: World) -> None:
    a, b = world.add_model("resnet-a", accuracy=1), world.add_model("resnet-b", accuracy=1)
    world.transfer(a, b, rate=1.0)
    world.transfer(b, a, rate=0.0)
    (item,) = api.get("/similar/resnet-a").json()["items"]
    assert (item["fools"], item["fooled_by"], item["rung"]) == (1.0, 0.0, 0)
    (item,) = api.get("/similar/resnet-b").json()["items"]
    assert (item["fools"], item["fooled_by"]) == (0.0, 1.0)


def test_one_direction_is_marked_from_the_side_that_asks(api: Api, world: World) -> None:
    a, b = world.add_model("resnet-a"), world.add_model("resnet-b")
    world.transfer(a, b, rate=0.5)
    for name, direction, known, unknown in (
        ("resnet-a", "outgoing", "fools", "fooled_by"),
        ("resnet-b", "incoming", "fooled_by", "fools"),
    ):
        (item,) = api.get(f"/similar/{name}").json()["items"]
        assert (item["obtained"], item["direction"], item[unknown]) == ("one-sided", direction, None)
        assert item["percent"] == pytest.approx(100 * item[known])


def test_a_score_at_the_floor_and_below_noise_says_so(api: Api, world: World) -> None:
    a, b = world.add_model("resnet-a", accuracy=1), world.add_model("resnet-b", accuracy=1)
    for source, target in ((a, b), (b, a)):
        world.transfer(source, target, rate=0.0)
    (item,) = api.get("/similar/resnet-a").json()["items"]
    assert item["flags"] == ["at floor", "no transfer beyond noise"]
    assert item["interval"][1] > item["sat"]


def test_pages_hold_every_neighbour_once(api: Api, zoo: World) -> None:
    whole = api.get("/similar/vit-a?k=200").json()["items"]
    path, found = "/similar/vit-a?k=2", []
    while path:
        page = api.get(path).json()
        found += page["items"]
        path = page["next"]
    assert found == whole
    assert len(whole) == len(zoo.networks) - 1


def test_a_neighbour_that_is_measured_meanwhile_moves_no_page(api: Api, zoo: World) -> None:
    for order in ("nearest", "farthest"):
        whole = [item["model"] for item in api.get(f"/similar/vit-a?k=200&order={order}").json()["items"]]
        first = api.get(f"/similar/vit-a?k=2&order={order}").json()
        assert first["total"] == len(whole)
        source = zoo.add_model(f"aaa-{order}")
        zoo.transfer(source, zoo.networks["vit-a"], rate=1.0 if order == "nearest" else 0.0)
        rest = api.get(first["next"].replace("k=2", "k=200")).json()["items"]
        assert [item["model"] for item in first["items"] + rest] == whole


def test_equal_scores_are_paged_by_name(api: Api, world: World) -> None:
    here = world.add_model("resnet-a", accuracy=1)
    for name in ("vit-b", "vit-c", "vit-d", "vit-e"):
        world.transfer(world.add_model(name, accuracy=1), here, rate=1.0)
    path, found = "/similar/resnet-a?k=1", []
    while path:
        page = api.get(path).json()
        found += [item["model"] for item in page["items"]]
        path = page["next"]
    assert found == ["vit-b", "vit-c", "vit-d", "vit-e"]


@pytest.mark.parametrize("position", [7, ["a", "b"], [1.5], [float("nan"), "a"], [True, "a"], {"a": 1}])
def test_a_cursor_that_is_none_of_this_list_is_refused(api: Api, zoo: World, position: object) -> None:
    assert api.get("/similar/vit-a", params={"cursor": encode_cursor(position)}).status_code == 422


def test_what_is_missing_is_counted_and_a_refused_pair_is_not(api: Api, world: World) -> None:
    a, b, c = (world.add_model(f"resnet-{each}") for each in "abc")
    world.add_received("resnet-d")
    assert api.get("/similar/resnet-a").json()["missing"] == 2
    world.transfer(a, b)
    world.refuse(a, c)
    answer = eventually(api, "/similar/resnet-a", lambda answer: answer["missing"] == 0)
    assert [item["model"] for item in answer["items"]] == ["resnet-b"]
    received = api.get("/similar/resnet-d").json()
    assert (received["items"], received["missing"]) == ([], 3)


def test_models_without_a_common_image_are_named_and_not_ranked(api: Api, world: World) -> None:
    a, b = world.add_model("resnet-a", accuracy=0), world.add_model("resnet-b")
    world.transfer(a, b)
    world.transfer(b, a)
    answer = api.get("/similar/resnet-a").json()
    assert (answer["items"], answer["not_comparable"], answer["missing"]) == ([], ["resnet-b"], 0)


def test_models_of_one_network_score_as_it_does_with_itself(api: Api, world: World) -> None:
    network = world.add_model("resnet-a")
    world.add_model("resnet-twin", shares="resnet-a")
    other = world.add_model("vit-a")
    world.transfer(network, other)
    answer = api.get("/similar/resnet-a").json()
    twin = next(item for item in answer["items"] if item["model"] == "resnet-twin")
    assert twin["flags"] == ["same network"]
    self_fooling = api.get("/models/resnet-a").json()["self_fooling"]
    assert twin["percent"] == pytest.approx(100 * self_fooling["rate"])
    assert twin["n"] == self_fooling["n"]
    # results belong to the network: the twin has them, whoever was registered first
    assert [item["model"] for item in api.get("/similar/vit-a").json()["items"]] == ["resnet-a", "resnet-twin"]
    assert api.delete("/models/resnet-a").status_code == 204
    assert [item["model"] for item in api.get("/similar/vit-a").json()["items"]] == ["resnet-twin"]


def test_a_deleted_model_is_gone_from_every_answer(api: Api, zoo: World) -> None:
    assert api.get("/similar/vit-a").status_code == 200
    with zoo.sessions.begin() as session:
        delete_model(session, "vit-a", actor=LOCAL)
    eventually(api, "/matrix", lambda answer: "vit-a" not in answer["models"])
    assert "vit-a" not in api.get("/similar/vit-b").text
    assert "vit-a" not in api.get("/models").text
    answer = api.get("/similar/vit-a")
    assert answer.status_code == 404
    assert answer.json()["near"][0] == "vit-b"
    for path in ("/pairs/vit-a/vit-b", "/models/vit-a", "/models/vit-a/checkpoint", "/recommend/teacher?student=vit-a"):
        assert api.get(path).status_code == 404, path


def test_a_failed_model_is_refused_with_its_reason(api: Api, world: World) -> None:
    world.add_model("resnet-a", state=ModelState.FAILED)
    answer = api.get("/similar/resnet-a")
    assert answer.status_code == 409
    assert "it broke." in answer.json()["detail"]
    assert "/models/resnet-a/retry" in answer.json()["detail"]


def test_a_model_is_found_at_once_by_every_name_it_has(api: Api, zoo: World) -> None:
    assert api.get("/similar/resnet-a").status_code == 200
    zoo.add_model("resnet-late", aliases=("newest",))
    digest = api.get("/models/newest", settle=False).json()["digest"]
    for reference in ("resnet-late", "newest", f"@{digest}", f"@{digest[:8]}"):
        assert api.get(f"/similar/{reference}", settle=False).json()["model"] == "resnet-late"


def test_a_model_of_another_task_is_refused_with_both_class_lists(api: Api, zoo: World) -> None:
    zoo.add_task("colours", ["red", "green", "blue"])
    zoo.add_received("painter")
    answer = api.get("/similar/painter")
    assert answer.status_code == 422
    assert answer.json()["classes"] == {"model": ["red", "green", "blue"], "task": ["no", "yes"]}


def test_a_comparison_is_chosen_by_name_and_an_unknown_one_lists_what_there_is(api: Api, zoo: World) -> None:
    zoo.add_comparison("other", default=False)
    assert api.get("/similar/resnet-a", params={"image_set": "other"}).json()["comparison"] == "other/pgd"
    assert api.get("/similar/resnet-a", params={"protocol": "pgd"}).json()["comparison"] == "digits/pgd"
    answer = api.get("/similar/resnet-a", params={"image_set": "nowhere"})
    assert answer.status_code == 404
    assert "digits/pgd, other/pgd" in answer.json()["detail"]


@pytest.mark.parametrize("query", ["k=0", "k=201", "order=sideways", "cursor=nonsense", "cursor=e30"])
def test_what_cannot_be_asked_is_422(api: Api, zoo: World, query: str) -> None:
    answer = api.get(f"/similar/resnet-a?{query}")
    assert answer.status_code == 422
    assert query.split("=", maxsplit=1)[0] in answer.json()["detail"]
