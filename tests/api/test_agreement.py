"""GET /agreement and what GET /protocols says of attacks."""

import numpy as np
import pytest
from scipy.stats import spearmanr
from sqlalchemy import select, update

from registry.tables import ComparisonRow, ComparisonState, PairRow, ProtocolRow
from registry.versions import raise_version
from tests.api.conftest import Api
from tests.api.world import World

BOTH = "digits/pgd,digits/mi-fgsm"


@pytest.fixture
def twice(zoo: World) -> World:
    """The zoo, measured by `pgd` and, with other random bits, by `mi-fgsm`."""
    with zoo.sessions.begin() as session:
        protocol = session.scalars(select(ProtocolRow.id).where(ProtocolRow.name == "mi-fgsm")).one()
        row = ComparisonRow(
            image_set_id=zoo.image_set_id, protocol_id=protocol, state=ComparisonState.MEASURING, is_default=False
        )
        session.add(row)
        session.flush()
        raise_version(session, row.id)
        zoo.comparison_id = row.id
    ids = sorted(zoo.networks.values())
    for network in ids:
        zoo.attack(network)
    for a in ids:
        for b in ids:
            if a != b:
                zoo.transfer(a, b, 0)
                zoo.transfer(a, b, 1)
    return zoo


def test_two_comparisons_are_correlated_over_their_pairs(api: Api, twice: World) -> None:
    answer = api.get(f"/agreement?comparisons={BOTH}")
    assert answer.status_code == 200
    found = answer.json()
    sat = [np.array(api.get(f"/matrix?protocol={name}").json()["sat"], float) for name in ("pgd", "mi-fgsm")]
    upper = np.triu_indices(len(sat[0]), 1)
    assert found["spearman"] == pytest.approx(spearmanr(sat[0][upper], sat[1][upper]).statistic, abs=1e-6)
    assert found["mean_difference"] == pytest.approx((sat[1] - sat[0])[upper].mean(), abs=1e-5)
    assert found["interval"][0] < found["interval"][1]
    assert 0 < found["p_value"] <= 1
    assert (found["models"], found["of_models"], found["pairs"]) == (6, 6, 15)
    assert found["comparisons"] == BOTH.split(",")
    again = api.get(f"/agreement?comparisons={BOTH}", headers={"If-None-Match": answer.headers["etag"]})
    assert again.status_code == 304


def test_the_answer_follows_both_comparisons(api: Api, twice: World) -> None:
    before = api.get(f"/agreement?comparisons={BOTH}").json()
    a, b = sorted(twice.networks.values())[:2]
    with twice.sessions.begin() as session:
        twice._update_pair(session, a, b)
    after = api.get(f"/agreement?comparisons={BOTH}").json()
    assert after["versions"][1] > before["versions"][1]
    assert after["versions"][0] == before["versions"][0]


def test_a_comparison_with_itself_agrees(api: Api, zoo: World) -> None:
    found = api.get("/agreement?comparisons=digits/pgd,digits/pgd").json()
    assert found["spearman"] == pytest.approx(1)
    assert found["mean_difference"] == 0


def test_a_pair_that_one_of_the_two_measured_one_way_has_no_part(api: Api, twice: World) -> None:
    """What Patch-Fool does to a network that it cannot attack, here to the first one, which is `a` in all its pairs."""
    of_first = (PairRow.comparison_id == twice.comparison_id, PairRow.a_id == min(twice.networks.values()))
    with twice.sessions.begin() as session:
        version = raise_version(session, twice.comparison_id)
        session.execute(update(PairRow).where(*of_first).values(fooled_ab=None, fooled_both=None, version=version))
    found = api.get(f"/agreement?comparisons={BOTH}").json()
    assert (found["models"], found["pairs"]) == (5, 10)
    itself = api.get("/agreement?comparisons=digits/mi-fgsm,digits/mi-fgsm").json()
    assert (itself["models"], itself["pairs"]) == (5, 10)


def test_too_few_models_give_a_reason_and_no_figure(api: Api, world: World) -> None:
    world.add_model("resnet-a")
    found = api.get("/agreement?comparisons=digits/pgd,digits/pgd").json()
    assert found["spearman"] is None
    assert found["models"] is None
    assert "4 are needed" in found["reason"]


@pytest.mark.parametrize(
    ("asked", "status", "said"),
    [
        ("digits/pgd", 422, "two names"),
        ("digits/pgd,digits", 422, "two names"),
        ("digits/pgd,digits/none", 404, "Comparisons: digits/pgd"),
    ],
)
def test_a_wrong_question_is_told_how_to_ask(api: Api, zoo: World, asked: str, status: int, said: str) -> None:
    answer = api.get(f"/agreement?comparisons={asked}")
    assert answer.status_code == status
    assert said in answer.json()["detail"]


def test_comparisons_of_two_tasks_do_not_compare(api: Api, zoo: World) -> None:
    zoo.add_task("colours", ["red", "blue"])
    with zoo.sessions.begin() as session:
        first = session.get_one(ComparisonRow, zoo.comparison_id)
        protocol_id = first.protocol_id
    from registry.tables import ImageSetRow

    with zoo.sessions.begin() as session:
        known = session.get_one(ImageSetRow, zoo.image_set_id)
        other = ImageSetRow(
            name="colours", task_id=zoo.task_id, digest=b"o" * 32, content=known.content, n_attack=40, n_select=32,
            n_report=24, prefix=16, side=8, channels=1,
        )  # fmt: skip
        session.add(other)
        session.flush()
        session.add(
            ComparisonRow(
                image_set_id=other.id, protocol_id=protocol_id, state=ComparisonState.PAUSED, is_default=False
            )
        )
        raise_version(session, zoo.comparison_id)
    answer = api.get("/agreement?comparisons=digits/pgd,colours/pgd")
    assert answer.status_code == 422
    assert "one task" in answer.json()["detail"]


def test_protocols_say_what_their_attack_can_do(api: Api, world: World) -> None:
    listed = {each["name"]: each for each in api.get("/protocols").json()["items"]}
    assert {"pgd", "pgd-paper", "mi-fgsm", "vmi-fgsm", "low-frequency-pgd", "apgd", "patch-fool"} <= set(listed)
    assert listed["pgd"]["capabilities"] == {
        "randomness": "none", "on_grid": True, "needs_patches": False, "needs_generator": False,
    }  # fmt: skip
    assert listed["vmi-fgsm"]["capabilities"]["randomness"] == "image"
    assert (listed["pgd"]["gradients"], listed["vmi-fgsm"]["gradients"]) == (50, 210)
    attacks = {each["name"]: each for each in api.get("/protocols/attacks").json()["items"]}
    assert (attacks["bia"]["available"], attacks["pgd"]["available"]) == (False, True)
    assert "generator" in attacks["bia"]["reason"]
    assert [each["name"] for each in attacks["mi-fgsm"]["options"]] == ["momentum"]


def test_a_protocol_is_made_of_its_attack_s_own_numbers(api: Api, world: World) -> None:
    wanted = {"name": "half", "attack": "mi-fgsm", "epsilon": "4/255", "momentum": 0.5}
    made = api.post("/protocols", json=wanted)
    assert made.status_code == 201
    parameters = made.json()["parameters"]
    assert (parameters["momentum"], parameters["steps"], parameters["step_size"]) == ("1/2", 10, "2/1275")
    # what a GET shows can be sent back
    assert api.post("/protocols", json={"name": "half", **parameters}).json()["digest"] == made.json()["digest"]
    refused = api.post("/protocols", json={"name": "odd", "attack": "pgd", "momentum": 1})
    assert refused.status_code == 422
    assert "momentum" in refused.json()["detail"]
    absent = api.post("/protocols", json={"name": "gen", "attack": "bia"})
    assert absent.status_code == 422
    assert "not available" in absent.json()["detail"]
