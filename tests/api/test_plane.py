"""GET /map and /importance: computed by the real light job from what is recorded, and served older meanwhile."""

import numpy as np
import pytest

from registry.analyses import find_analysis, record_analysis, request_analysis
from registry.database import transaction
from registry.jobs import claim, finish
from registry.tables import AnalysisKind, Lane, ModelState
from tests.api.conftest import Api
from tests.api.light_worker import worker
from tests.api.world import World


def test_the_map_waits_for_a_worker_and_then_names_the_models(api: Api, zoo: World) -> None:
    pending = api.get("/map?wait=0")
    assert (pending.status_code, pending.headers["retry-after"]) == (202, "1")
    with worker(api, zoo):
        answer = api.get("/map?wait=10")
    assert answer.status_code == 200
    found = answer.json()
    assert [item["model"] for item in found["items"]] == sorted(zoo.networks)
    assert {item["base"] for item in found["items"]} == {"CNN", "Transformer", "MLP-Mixer"}
    assert np.isfinite([[item["x"], item["y"]] for item in found["items"]]).all()
    assert (found["stale"], found["missing"], found["failure"], found["left_out"]) == (False, 0, None, [])
    assert api.get("/map?wait=10", headers={"If-None-Match": answer.headers["etag"]}).status_code == 304


def test_an_older_map_is_served_while_pairs_are_measured(api: Api, zoo: World) -> None:
    zoo.add_model("odd-one", state=ModelState.SUSPECT)
    with worker(api, zoo):
        fresh = api.get("/map?wait=10").json()
        assert fresh["left_out"] == ["odd-one"]
        zoo.add_model("vit-new")
        stale = api.get("/map?wait=0").json()
        assert (stale["stale"], stale["missing"], stale["version"]) == (True, 6, fresh["version"])
        assert (stale["items"], stale["left_out"]) == (fresh["items"], ["odd-one", "vit-new"])
        zoo.measure()
        newer = api.get("/map?wait=10").json()
    assert not newer["stale"]
    assert "vit-new" in [item["model"] for item in newer["items"]]


def test_without_an_older_map_missing_pairs_are_told(api: Api, zoo: World) -> None:
    zoo.add_model("vit-new")
    answer = api.get("/map")
    assert (answer.status_code, answer.json()["missing"]) == (409, 6)
    assert "6 of 21 pairs are still to be measured" in answer.json()["detail"]


def test_importance_says_how_well_it_fits_and_needs_no_complete_matrix(api: Api, zoo: World) -> None:
    with worker(api, zoo):
        few = api.get("/importance?wait=10")
        assert few.status_code == 409
        assert "at least 8 models, and there are 6" in few.json()["detail"]
        for name in ("vit-c", "resnet-c", "mixer-c"):
            zoo.add_model(name)
        zoo.measure()
        zoo.add_model("mixer-d")
        answer = api.get("/importance?wait=10")
    found = answer.json()
    assert (answer.status_code, found["models"], found["pairs"], found["stale"]) == (200, 10, 36, False)
    assert [item["component"] for item in found["items"]] == ["Base"]
    assert found["r2_new_models"] <= found["r2_fit"] <= 1
    assert "has not seen" in found["method"]
    again = api.get("/importance?wait=10", headers={"If-None-Match": answer.headers["etag"]})
    assert again.status_code == 304


@pytest.mark.parametrize("path", ["/map", "/clusters"])
def test_a_failing_analysis_leaves_the_older_one_and_says_why(api: Api, zoo: World, path: str) -> None:
    kind, parameters = (AnalysisKind.MAP, {}) if path == "/map" else (AnalysisKind.CLUSTERS, {"k": None})
    with worker(api, zoo):
        fresh = api.get(f"{path}?wait=10").json()
    zoo.add_received("vit-new")
    version = api.get("/matrix").json()["version"]
    with transaction(zoo.sessions, lambda _: None) as session:
        request_analysis(session, zoo.comparison_id, kind, parameters)
        claimed = claim(session, (Lane.LIGHT,), zoo.worker_id, 15)
        row = find_analysis(session, zoo.comparison_id, kind, parameters)
        assert claimed is not None
        assert row is not None
        record_analysis(session, claimed, row, version=version, result=None, failure="the disk is full")
        finish(session, claimed)
    older = api.get(f"{path}?wait=0").json()
    assert (older["items"], older["version"]) == (fresh["items"], fresh["version"])
    assert (older["stale"], older["failure"]) == (True, "the disk is full")
