"""GET /pairs and GET /matrix: one pair in full, and all of them."""

import csv
import io
from math import log

import numpy as np
import pytest

from registry.tables import ModelState, Part
from sat_engine.scores import score
from tests.api.conftest import Api, eventually
from tests.api.world import World


def test_a_pair_shows_its_counts_rungs_controls_and_makers(api: Api, zoo: World) -> None:
    a, b = zoo.networks["resnet-a"], zoo.networks["vit-a"]
    counted = zoo.counts(a, b)
    assert counted is not None
    counts, found = counted[0], score(counted[0])
    pair = api.get("/pairs/resnet-a/vit-a").json()
    assert (pair["a"], pair["b"], pair["n"]) == ("resnet-a", "vit-a", counts.n)
    assert pair["sat"] == pytest.approx(found.sat)
    assert pair["interval"] == pytest.approx(found.interval)
    assert pair["percent_interval"] == pytest.approx(found.percent_interval)
    assert pair["fooled"] == {
        "a_fools_b": {"count": counts.fooled_ab, "rate": counts.fooled_ab / counts.n},
        "b_fools_a": {"count": counts.fooled_ba, "rate": counts.fooled_ba / counts.n},
        "both": counts.fooled_both,
    }
    assert [rung["rung"] for rung in pair["rungs"]] == [0, 1]
    for key, total in (("n", counts.n), ("a_fools_b", counts.fooled_ab), ("b_fools_a", counts.fooled_ba)):
        assert sum(rung[key] for rung in pair["rungs"]) == total
    common = zoo.correct[a][Part.ATTACK] & zoo.correct[b][Part.ATTACK]
    assert pair["controls"] == {
        "a_to_b": {"floor": None, "ceiling": None, "noise": (zoo.noise[b] & common).sum() / common.sum()},
        "b_to_a": {"floor": None, "ceiling": None, "noise": (zoo.noise[a] & common).sum() / common.sum()},
    }
    assert pair["made_by"] == [{"code_version": "1", "device": "cpu", "numeric_path": "float32", "worker": "here:7"}]
    assert (pair["image_set"], pair["protocol"], pair["reason"]) == ("digits", "pgd", None)
    assert pair["digests"] == {
        side: api.get(f"/models/{name}").json()["digest"] for side, name in (("a", "resnet-a"), ("b", "vit-a"))
    }


def test_a_pair_turned_round_is_the_same_pair(api: Api, zoo: World) -> None:
    one, other = api.get("/pairs/resnet-a/vit-a").json(), api.get("/pairs/vit-a/resnet-a").json()
    assert one["sat"] == other["sat"]
    assert one["fooled"]["a_fools_b"] == other["fooled"]["b_fools_a"]
    assert one["rungs"][0]["a_fools_b"] == other["rungs"][0]["b_fools_a"]


def test_controls_of_unequal_sizes_are_shares_of_what_they_are_counted_on(api: Api, world: World) -> None:
    a, b = world.add_model("resnet-a"), world.add_model("resnet-b")
    world.transfer(a, b, 0, controls=(np.arange(world.prefix) < 2, np.arange(world.prefix) < 3))
    pair = api.get("/pairs/resnet-a/resnet-b").json()
    attacked = int(world.correct[a][Part.ATTACK][: world.prefix].sum())
    assert pair["controls"]["a_to_b"]["floor"] == pytest.approx(2 / pair["n"])
    assert pair["controls"]["a_to_b"]["ceiling"] == pytest.approx(3 / attacked)
    assert pair["controls"]["b_to_a"] == {"floor": None, "ceiling": None, "noise": None}


def test_a_model_with_itself_is_its_self_fooling(api: Api, zoo: World) -> None:
    pair, model = api.get("/pairs/vit-a/vit-a").json(), api.get("/models/vit-a").json()
    assert pair["percent"] == pytest.approx(100 * model["self_fooling"]["rate"])
    assert pair["flags"] == ["same network"]
    assert sum(rung["n"] for rung in pair["rungs"]) == model["self_fooling"]["n"] == pair["n"]
    assert pair["controls"]["a_to_b"]["noise"] == pytest.approx(model["noise"]["rate"])


def test_an_unmeasured_pair_says_why(api: Api, world: World) -> None:
    a, b = world.add_model("resnet-a"), world.add_model("resnet-b")
    world.add_model("resnet-c", attacked=False)
    world.add_received("resnet-d")
    world.add_model("resnet-e", state=ModelState.FAILED)
    reasons = {
        "resnet-b": "not measured yet: its transfers are queued",
        "resnet-c": "not measured yet: resnet-c has not been attacked",
        "resnet-d": "not measured yet: resnet-d is still being prepared",
    }
    for other, reason in reasons.items():
        pair = api.get(f"/pairs/resnet-a/{other}").json()
        assert pair["reason"].startswith(reason)
        assert (pair["sat"], pair["obtained"], pair["n"], pair["rungs"]) == (None, None, None, [])
    assert api.get("/pairs/resnet-a/resnet-e").status_code == 409
    world.refuse(a, b)
    refused = eventually(api, "/pairs/resnet-a/resnet-b", lambda pair: "could not" in pair["reason"])
    assert refused["reason"] == "this pair could not be measured: its images are lost."


def test_a_pair_without_a_common_image_says_so(api: Api, world: World) -> None:
    a, b = world.add_model("resnet-a", accuracy=0), world.add_model("resnet-b")
    world.transfer(a, b)
    world.transfer(b, a)
    pair = api.get("/pairs/resnet-a/resnet-b").json()
    assert (pair["sat"], pair["interval"], pair["n"], pair["obtained"]) == (None, None, 0, "measured")
    assert "no image is classified correctly by both" in pair["reason"]


def test_the_matrix_is_symmetric_and_holds_every_pair(api: Api, zoo: World) -> None:
    zoo.add_model("resnet-new")
    zoo.transfer(zoo.networks["resnet-new"], zoo.networks["vit-a"])
    matrix = api.get("/matrix").json()
    names = sorted(zoo.networks)
    assert (matrix["models"], matrix["missing"]) == (names, 5)
    for i, one in enumerate(names):
        for j, other in enumerate(names):
            assert matrix["sat"][i][j] == matrix["sat"][j][i]
            pair = api.get(f"/pairs/{one}/{other}").json()
            assert matrix["obtained"][i][j] == pair["obtained"]
            if pair["sat"] is None:
                assert matrix["sat"][i][j] is None
            else:
                assert matrix["sat"][i][j] == pytest.approx(pair["sat"], abs=1e-6)
        rate = api.get(f"/models/{one}").json()["self_fooling"]["rate"]
        assert matrix["sat"][i][i] == pytest.approx(log(100 * rate), abs=1e-6)


def test_csv_holds_the_same_numbers_and_nothing_where_one_is_missing(api: Api, zoo: World) -> None:
    zoo.add_model("resnet-new", attacked=False)
    answer = api.get("/matrix?format=csv")
    assert answer.headers["content-type"].startswith("text/csv")
    head, *rows = csv.reader(io.StringIO(answer.text))
    matrix = api.get("/matrix").json()
    assert head[1:] == matrix["models"] == [row[0] for row in rows]
    for row, expected in zip(rows, matrix["sat"], strict=True):
        assert row[1:] == ["" if value is None else f"{value:.6f}" for value in expected]


def test_the_matrix_of_models_that_share_a_network_counts_pairs_of_models(api: Api, world: World) -> None:
    world.add_model("resnet-a")
    for twin in ("resnet-b", "resnet-c"):
        world.add_model(twin, shares="resnet-a")
    world.add_model("vit-a", attacked=False)
    world.add_model("vit-b", shares="vit-a")
    # three with each vit, and the two vits with each other; the resnets have their self-fooling
    assert api.get("/matrix").json()["missing"] == 3 * 2 + 1


def test_an_empty_zoo_has_an_empty_matrix(api: Api, world: World) -> None:
    assert api.get("/matrix").json() == {
        "comparison": "digits/pgd",
        "version": 1,
        "models": [],
        "missing": 0,
        "sat": [],
        "obtained": [],
    }
