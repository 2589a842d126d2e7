"""/recommend and /clusters: members and teachers at once, a light job's part when it is done."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import combinations
from typing import Any

import pytest
from sqlalchemy import select

from registry.analyses import pending_analyses, record_analysis
from registry.database import transaction
from registry.jobs import claim, finish, hold
from registry.reads.ensembles import EnsembleQuery, choose_ensemble
from registry.tables import AnalysisKind, AnalysisRow, JobKind, Lane, ModelState, Part
from sat_engine.ensembles import Objective
from tests.api.conftest import Api
from tests.api.world import World


def worth(members: int) -> dict[str, Any]:
    return {
        "n": 24,
        "top1": 0.9,
        "interval": [0.7, 0.97],
        "error_reduction_rate": 0.2,
        "all_wrong": 0.04,
        "member_top1": [0.5 + index / 100 for index in range(members)],
    }


def judged(row: AnalysisRow) -> dict[str, Any]:
    """A result of the shape that registry/analyses.py describes."""
    n, candidates = row.parameters["n"], row.parameters["candidates"]
    judgement = {
        "ensemble": worth(n),
        "best_single": worth(1),
        "most_accurate": worth(n),
        "forward": worth(n),
        "random": {
            "draws": 30,
            "top1_mean": 0.8,
            "top1_sd": 0.01,
            "error_reduction_rate_mean": 0.1,
            "error_reduction_rate_sd": 0.01,
        },
    }
    return {
        "logits": judgement,
        "probabilities": judgement,
        "baselines": {"best_single": candidates[0], "most_accurate": candidates[:n], "forward": candidates[-n:]},
    }


def clustered(row: AnalysisRow, networks: list[int]) -> dict[str, Any]:
    k = row.parameters["k"] or 2
    return {
        "k": k,
        "suggested": row.parameters["k"] is None,
        "stability": 0.9,
        "silhouette": 0.3,
        "networks": networks,
        "labels": [index % k for index in range(len(networks))],
        "keywords": [[f"word {label}"] for label in range(k)],
    }


def work_once(world: World, failure: str | None = None, networks: list[int] | None = None) -> bool:
    """What a light worker does with an analyse job, with made-up numbers; False when there is no job."""
    with transaction(world.sessions, lambda _lane: None) as session:
        claimed = claim(session, (Lane.LIGHT,), world.worker_id, 15)
    if claimed is None:
        return False
    with transaction(world.sessions, lambda _lane: None) as session:
        for row in pending_analyses(session, world.comparison_id):
            ensemble = row.kind is AnalysisKind.ENSEMBLE
            found = judged(row) if ensemble else clustered(row, networks or sorted(set(world.networks.values())))
            record_analysis(
                session,
                claimed,
                row,
                version=row.wanted_version,
                result=None if failure else found,
                failure=failure,
            )
        finish(session, claimed)
    return True


@contextmanager
def worker(world: World, failure: str | None = None, clustered_networks: list[int] | None = None) -> Iterator[None]:
    """A thread that takes light jobs until the block ends."""
    ended = threading.Event()

    def run() -> None:
        while not ended.is_set():
            if not work_once(world, failure, clustered_networks):
                ended.wait(0.02)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def test_members_come_at_once_and_their_worth_when_the_job_is_done(api: Api, zoo: World) -> None:
    path = "/recommend/ensemble?n=3"
    first = api.get(f"{path}&wait=0").json()
    assert (first["evaluated"], first["evaluation"], first["n"]) == ("pending", None, 3)
    with worker(zoo):
        done = api.get(f"{path}&wait=10").json()
    assert done["evaluated"] == "done"
    assert done["members"] == first["members"]
    evaluation = done["evaluation"]
    assert (evaluation["part"], evaluation["n"], evaluation["top1_interval"]) == ("report", 24, [0.7, 0.97])
    by_network = sorted(done["members"], key=lambda member: zoo.networks[member["model"]])
    assert {member["model"]: member["top1"] for member in evaluation["members"]} == {
        member["model"]: 0.5 + index / 100 for index, member in enumerate(by_network)
    }
    baselines = evaluation["baselines"]
    assert baselines["best_single"] == {"model": "resnet-a", "top1": 0.9}
    assert baselines["top_n_by_accuracy"]["models"] == ["resnet-a", "resnet-b", "vit-a"]
    assert baselines["greedy_forward"]["models"] == ["vit-b", "mixer-a", "mixer-b"]
    assert baselines["random"] == {"draws": 30, "mean_top1": 0.8, "sd_top1": 0.01}
    assert evaluation["probabilities"]["top1"] == 0.9


def test_the_same_members_are_judged_once(api: Api, zoo: World) -> None:
    with worker(zoo):
        for query in ("n=2&objective=accuracy", "n=2&objective=accuracy&max_per_family=2", "n=2&weight=1"):
            assert api.get(f"/recommend/ensemble?{query}&wait=10").json()["evaluated"] == "done"
    with zoo.sessions() as session:
        assert len(session.scalars(select(AnalysisRow)).all()) == 1


def test_scores_manifest_and_sums_belong_to_the_members(api: Api, zoo: World) -> None:
    answer = api.get("/recommend/ensemble?n=3&wait=0").json()
    names = [member["model"] for member in answer["members"]]
    assert len(set(names)) == 3
    assert {(pair["a"], pair["b"]) for pair in answer["pairs"]} == set(combinations(names, 2))
    for pair in answer["pairs"]:
        assert pair["sat"] == pytest.approx(api.get(f"/pairs/{pair['a']}/{pair['b']}").json()["sat"])
    assert answer["mean_sat"] == pytest.approx(sum(pair["sat"] for pair in answer["pairs"]) / 3)
    manifest = answer["manifest"]
    assert manifest["combine"] == "mean-of-logits"
    assert manifest["parameters"] == sum(member["parameters"] for member in answer["members"])
    assert manifest["gmacs"] == pytest.approx(sum(member["gmacs"] for member in answer["members"]))
    for member in manifest["members"]:
        model = api.get(f"/models/{member['model']}").json()
        assert (member["digest"], member["input"]) == (model["digest"], model["input"])
        assert member["checkpoint"] == model["links"]["checkpoint"]
        assert member["class_map"] == [0, 1]
    for member in answer["members"]:
        assert all(swap["loss"] >= -1e-9 and swap["model"] not in names for swap in member["swaps"])


def test_constraints_are_kept(api: Api, zoo: World) -> None:
    answer = api.get("/recommend/ensemble?n=3&include=vit-a&exclude=mixer-a,mixer-b&max_per_family=2&wait=0").json()
    names = [member["model"] for member in answer["members"]]
    assert "vit-a" in names
    assert not {"mixer-a", "mixer-b"} & set(names)
    repeated = api.get("/recommend/ensemble?n=3&include=vit-a&exclude=mixer-a&exclude=mixer-b&max_per_family=2&wait=0")
    assert repeated.json() == answer


def test_objectives_choose_by_what_they_say(api: Api, zoo: World) -> None:
    def ensemble(objective: str) -> dict[str, Any]:
        answer: dict[str, Any] = api.get(f"/recommend/ensemble?n=2&objective={objective}&wait=0").json()
        return answer

    diverse, accurate = ensemble("diverse"), ensemble("accuracy")
    every = [api.get(f"/pairs/{a}/{b}").json()["sat"] for a, b in combinations(sorted(zoo.networks), 2)]
    assert diverse["mean_sat"] == pytest.approx(min(every))
    best = sorted((zoo.correct[network][Part.SELECT].mean() for network in zoo.networks.values()), reverse=True)[:2]
    assert sorted((member["accuracy"] for member in accurate["members"]), reverse=True) == pytest.approx(best)


def test_what_cannot_be_had_names_what_binds(api: Api, zoo: World) -> None:
    zoo.add_model("odd-one", state=ModelState.SUSPECT)
    zoo.add_received("received")
    too_many = api.get("/recommend/ensemble?n=7")
    assert too_many.status_code == 422
    assert "n = 7 is too many: only 6 models can be chosen from in digits/pgd" in too_many.json()["detail"]
    assert {each["model"] for each in too_many.json()["left_out"]} == {"odd-one", "received"}
    for query, word in (
        ("min_accuracy=1", "min_accuracy"),
        ("max_parameters=10", "max_parameters"),
        ("max_gmacs=0.001", "max_macs"),
        ("n=4&max_per_family=1", "max_per_family"),
        ("include=vit-a&exclude=vit-a", "vit-a"),
    ):
        answer = api.get(f"/recommend/ensemble?n=3&{query}")
        assert answer.status_code == 422, query
        assert word in answer.json()["detail"]
    assert api.get("/recommend/ensemble?include=nobody").status_code == 404
    for query in ("n=0", "weight=2", "objective=best", "min_accuracy=-1", "wait=11"):
        assert api.get(f"/recommend/ensemble?{query}").status_code == 422, query


def test_who_is_left_out_is_named_with_the_reason(api: Api, zoo: World) -> None:
    zoo.add_model("odd-one", state=ModelState.SUSPECT)
    zoo.add_model("vit-new")
    zoo.add_model("vit-twin", shares="vit-a")
    zoo.add_received("received")
    zoo.add_model("broken", state=ModelState.FAILED)
    answer = api.get("/recommend/ensemble?n=3&wait=0").json()
    reasons = {each["model"]: each["reason"] for each in answer["left_out"]}
    assert reasons["odd-one"] == "it is suspect: it guesses."
    assert "pairs have no score yet" in reasons["vit-new"]
    assert reasons["vit-twin"] == "the same network as vit-a"
    assert reasons["received"] == "it is still being prepared"
    assert reasons["broken"] == "it failed: it broke."
    assert not set(reasons) & {member["model"] for member in answer["members"]}


def test_the_report_part_cannot_change_the_choice(api: Api, zoo: World) -> None:
    snapshot = api.app.state.services.watch.refresh().snapshots[zoo.comparison_id]
    query = EnsembleQuery(n=3, objective=Objective.BLEND)
    chosen = [model.name for model, _ in choose_ensemble(snapshot, query).members]
    for network in zoo.networks.values():
        zoo.set_report(network, 0)
    snapshot = api.app.state.services.watch.refresh().snapshots[zoo.comparison_id]
    assert [model.name for model, _ in choose_ensemble(snapshot, query).members] == chosen


def test_an_evaluation_that_failed_says_why_and_members_stand(api: Api, zoo: World) -> None:
    with worker(zoo, failure="the logits of vit-a are lost"):
        answer = api.get("/recommend/ensemble?n=3&wait=10").json()
    assert (answer["evaluated"], answer["failure"]) == ("failed", "the logits of vit-a are lost")
    assert len(answer["members"]) == 3


def test_a_set_without_a_report_part_cannot_judge(api: Api, world: World) -> None:
    world.sizes = {Part.ATTACK: 40, Part.SELECT: 10, Part.REPORT: 0}
    world.add_comparison("bare", default=False)
    for name in ("resnet-a", "vit-a"):
        world.add_model(name)
    world.measure()
    answer = api.get("/recommend/ensemble?n=2&image_set=bare&wait=0").json()
    assert answer["evaluated"] == "failed"
    assert "no report part" in answer["failure"]


def test_a_finished_answer_is_kept_and_has_one_tag(api: Api, zoo: World) -> None:
    with worker(zoo):
        first = api.get("/recommend/ensemble?n=3&wait=10")
    started = time.perf_counter()
    again = api.get("/recommend/ensemble?n=3&wait=10", headers={"If-None-Match": first.headers["etag"]})
    assert again.status_code == 304
    assert time.perf_counter() - started < 1


def test_teachers_follow_the_rule_and_show_their_evidence(api: Api, zoo: World) -> None:
    answer = api.get("/recommend/teacher?student=vit-a&k=4").json()
    assert answer["student"] == "vit-a"
    assert len(answer["items"]) == 4
    suggested = [item for item in answer["items"] if item["default"]]
    assert suggested == answer["items"][: len(suggested)]
    assert suggested
    assert all(not item["same_base"] for item in suggested)
    assert "vit-b" in [item["model"] for item in answer["items"]]
    student = zoo.correct[zoo.networks["vit-a"]][Part.SELECT]
    for item in answer["items"]:
        teacher = zoo.correct[zoo.networks[item["model"]]][Part.SELECT]
        flips = int((teacher & ~student).sum())
        assert item["positive_flips"] == {"count": flips, "n": len(student), "share": flips / len(student)}
        assert item["sat"] == pytest.approx(api.get(f"/pairs/vit-a/{item['model']}").json()["sat"])
        assert item["reason"]
    assert "r = -0.51" in answer["evidence"]
    assert "less similar the better" in answer["rule"]


def test_an_architecture_is_a_student_by_the_models_like_it(api: Api, zoo: World) -> None:
    answer = api.get("/recommend/teacher?student=test_vit&k=200").json()
    assert (answer["student"], answer["estimated_from"]) == ("test_vit", ["vit-a", "vit-b"])
    assert any("vit-a, vit-b" in warning and "estimated" in warning for warning in answer["warnings"])
    assert {item["model"] for item in answer["items"]} == set(zoo.networks)
    for item in answer["items"]:
        alike = [name for name in ("vit-a", "vit-b") if name != item["model"]]
        scores = [api.get(f"/pairs/{name}/{item['model']}").json()["sat"] for name in alike]
        assert item["sat"] == pytest.approx(sum(scores) / len(scores))
        assert (item["obtained"], item["interval"], item["positive_flips"]) == ("estimated", None, None)
        assert item["same_base"] == item["model"].startswith("vit")
    # of the family where the architecture itself is not there
    other = api.get("/recommend/teacher?student=test_resnet&k=1").json()
    assert other["estimated_from"] == ["resnet-a", "resnet-b"]


def test_an_architecture_like_nothing_measured_is_refused(api: Api, zoo: World) -> None:
    refused = api.get("/recommend/teacher?student=swin_tiny_patch4_window7_224")
    assert refused.status_code == 422
    assert "cannot be estimated" in refused.json()["detail"]
    assert api.get("/recommend/teacher?student=no_such_net").status_code == 404


def test_members_of_one_cluster_are_counted(api: Api, zoo: World) -> None:
    path = "/recommend/ensemble?n=2&objective=accuracy&max_per_cluster=1"
    waiting = api.get(f"{path}&wait=0")
    assert (waiting.status_code, waiting.headers["retry-after"]) == (409, "1")
    with worker(zoo):
        clusters = api.get("/clusters?wait=10").json()["items"]
        members = {member["model"] for member in api.get(f"{path}&wait=10").json()["members"]}
        assert all(len(members & set(cluster["models"])) == 1 for cluster in clusters[:2])
        k = len(clusters)
        too_many = api.get(path.replace("n=2", f"n={k + 1}") + "&wait=10")
    assert too_many.status_code == 422
    assert "max_per_cluster" in too_many.json()["detail"]


def test_a_student_is_warned_about_and_others_are_left_out(api: Api, zoo: World) -> None:
    zoo.add_model("odd-one", state=ModelState.SUSPECT)
    zoo.add_model("vit-twin", shares="vit-a")
    zoo.measure("odd-one", "vit-a", "mixer-a")
    suspect = api.get("/recommend/teacher?student=odd-one").json()
    assert any("odd-one is suspect" in warning for warning in suspect["warnings"])
    answer = api.get("/recommend/teacher?student=vit-a&k=200").json()
    assert not {"odd-one", "vit-twin", "vit-a"} & {item["model"] for item in answer["items"]}
    assert {each["model"] for each in answer["left_out"]} == {"odd-one", "vit-twin"}


def test_a_student_without_scores_is_told_to_wait(api: Api, world: World) -> None:
    world.add_model("resnet-a")
    world.add_model("resnet-b")
    world.add_received("resnet-c")
    world.add_model("resnet-d", state=ModelState.FAILED)
    for student in ("resnet-a", "resnet-c"):
        answer = api.get(f"/recommend/teacher?student={student}")
        assert (answer.status_code, answer.headers["retry-after"]) == (409, "1")
    assert api.get("/recommend/teacher?student=resnet-d").status_code == 409
    assert api.get("/recommend/teacher?student=nobody").status_code == 404
    assert api.get("/recommend/teacher").status_code == 422


def test_clusters_wait_for_a_worker_and_then_name_the_models(api: Api, zoo: World) -> None:
    pending = api.get("/clusters?k=2&wait=0")
    assert (pending.status_code, pending.headers["retry-after"]) == (202, "1")
    assert pending.json()["status"] == "pending"
    with worker(zoo):
        answer = api.get("/clusters?k=2&wait=10")
    assert answer.status_code == 200
    clusters = answer.json()
    assert (clusters["stale"], clusters["k"], clusters["suggested_k"]) == (False, 2, None)
    assert clusters["items"] == [
        {"cluster": 1, "models": ["mixer-a", "resnet-a", "vit-a"], "keywords": ["word 0"]},
        {"cluster": 2, "models": ["mixer-b", "resnet-b", "vit-b"], "keywords": ["word 1"]},
    ]
    assert api.get("/clusters?k=2&wait=10", headers={"If-None-Match": answer.headers["etag"]}).status_code == 304


def test_older_clusters_are_served_while_newer_ones_are_computed(api: Api, zoo: World) -> None:
    with worker(zoo):
        fresh = api.get("/clusters?wait=10").json()
    assert fresh["suggested_k"] == 2
    zoo.add_received("received")
    stale = api.get("/clusters?wait=0").json()
    assert stale["stale"] is True
    assert stale["version"] == fresh["version"]
    assert (stale["items"], stale["left_out"]) == (fresh["items"], ["received"])
    with worker(zoo):
        assert api.get("/clusters?wait=10").json()["stale"] is False


def test_clusters_need_every_pair_and_no_more_than_there_are(api: Api, zoo: World) -> None:
    assert api.get("/clusters?k=7").status_code == 422
    zoo.add_model("vit-new")
    answer = api.get("/clusters")
    assert (answer.status_code, answer.headers["retry-after"]) == (409, "1")
    assert "6 of 21 pairs are still to be measured" in answer.json()["detail"]
    assert answer.json()["missing"] == 6


def test_older_clusters_are_served_while_pairs_are_measured(api: Api, zoo: World) -> None:
    with worker(zoo):
        fresh = api.get("/clusters?wait=10").json()
    assert (fresh["missing"], fresh["stale"]) == (0, False)
    zoo.add_model("vit-new")
    with worker(zoo, failure="pairs are missing"):
        stale = api.get("/clusters?wait=1").json()
        assert (stale["stale"], stale["missing"], stale["left_out"]) == (True, 6, ["vit-new"])
        assert (stale["items"], stale["version"]) == (fresh["items"], fresh["version"])
        assert api.get("/clusters?k=2").status_code == 409  # of these there are no older ones
        assert api.get("/clusters?wait=1").json() == stale
    zoo.measure()
    with worker(zoo):
        assert api.get("/clusters?wait=10").json()["stale"] is False


def test_clusters_wait_only_for_pairs_of_trusted_models_that_can_have_a_score(api: Api, zoo: World) -> None:
    zoo.add_model("odd-one", state=ModelState.SUSPECT)
    assert api.get("/clusters?wait=0").status_code == 202
    assert api.get("/clusters?k=7").status_code == 422
    blind, lost = zoo.add_model("vit-blind", accuracy=0), zoo.add_model("vit-lost")
    others = [zoo.networks[name] for name in ("resnet-a", "resnet-b", "vit-a", "vit-b", "mixer-a", "mixer-b")]
    assert api.get("/clusters").json()["missing"] == 13
    for other in others:
        zoo.transfer(blind, other)  # no image in common: nothing more can come of this pair
        zoo.refuse(other, lost)
    assert api.get("/clusters").json()["missing"] == 1
    zoo.refuse(blind, lost, rung=1)  # rung 0 would do
    zoo.end_job(JobKind.ATTACK, lost, "no gradient.")
    answer = api.get("/clusters").json()
    assert answer["missing"] == 1
    assert "1 of 28 pairs" in answer["detail"]
    assert "/retry of vit-lost." in answer["detail"]
    zoo.refuse(lost, blind)
    with worker(zoo, clustered_networks=sorted(others)):
        clusters = api.get("/clusters?wait=10").json()
    assert (clusters["stale"], clusters["left_out"]) == (False, ["odd-one", "vit-blind", "vit-lost"])
    assert api.get("/clusters?k=9").status_code == 422
    assert api.get("/clusters?k=8&wait=0").status_code == 202


def test_clusters_that_cannot_be_computed_say_why(api: Api, zoo: World) -> None:
    with worker(zoo, failure="all scores are equal"):
        answer = api.get("/clusters?wait=10")
    assert answer.status_code == 409
    assert "all scores are equal" in answer.json()["detail"]


def test_asking_while_a_worker_records_waits_and_does_not_deadlock(api: Api, zoo: World) -> None:
    api.get("/clusters?k=2&wait=0")
    with transaction(zoo.sessions, lambda _lane: None) as session:
        claimed = claim(session, (Lane.LIGHT,), zoo.worker_id, 15)
        assert claimed is not None
    zoo.add_received("received")  # a newer version: the next question asks again
    statuses: list[int] = []
    asking = threading.Thread(target=lambda: statuses.append(api.get("/clusters?k=2&wait=0").status_code))
    with transaction(zoo.sessions, lambda _lane: None) as session:
        hold(session, claimed)
        asking.start()
        time.sleep(0.5)
        (row,) = pending_analyses(session, zoo.comparison_id)
        result = clustered(row, sorted(set(zoo.networks.values())))
        record_analysis(session, claimed, row, version=row.wanted_version, result=result, failure=None)
    asking.join()
    assert statuses == [200]
