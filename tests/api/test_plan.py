"""POST /plan: the arithmetic of what registering costs, checked against what would be recorded; nothing is started."""

from collections.abc import Callable
from hashlib import sha256
from typing import Any

import pytest
from sqlalchemy import func, select, update

from registry.archiving import archive_model
from registry.rates import ASSUMED_SECONDS, GRADIENT_FORWARDS
from registry.tables import (
    AttackRow,
    EvaluationRow,
    JobRow,
    ModelRow,
    ModelState,
    NetworkRow,
    TaskRow,
    TransferRow,
    WorkerRow,
)
from tests.api.conftest import Api
from tests.api.test_models import CHECKPOINT, METADATA, register
from tests.api.world import World

IMAGES = {0: 16, 1: 24}  # of the world's rungs
GRADIENTS = 50


def planned(*names: str, **changes: Any) -> dict[str, Any]:
    return {"models": [METADATA | {"name": name} | changes for name in names]}


def plan(api: Api, body: dict[str, Any]) -> Any:
    api.app.state.services.watch.refresh()
    answer = api.post("/plan", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_a_plan_counts_every_directed_cell_once(api: Api, zoo: World) -> None:
    found = plan(api, planned("one", "two"))
    assert found["against"] == 6
    # onto and from each of 6, and both ways between the two
    assert found["rung_0"]["cells"] == 2 * 2 * 6 + 2
    assert found["total"]["cells"] == 2 * (2 * 2 * 6 + 2)
    assert found["comparison"] == "digits/pgd"


def test_nothing_is_started_by_a_plan(api: Api, zoo: World) -> None:
    with zoo.sessions() as session:
        before = [session.scalar(select(func.count()).select_from(table)) for table in (ModelRow, JobRow)]
    plan(api, planned("one"))
    with zoo.sessions() as session:
        assert before == [session.scalar(select(func.count()).select_from(table)) for table in (ModelRow, JobRow)]


def test_stopping_at_rung_0_costs_what_rung_0_alone_costs(api: Api, zoo: World) -> None:
    whole, shallow = plan(api, planned("one")), plan(api, planned("one", last_rung=0))
    assert shallow["total"]["cells"] == shallow["rung_0"]["cells"] == whole["rung_0"]["cells"]
    assert shallow["total"]["device_hours"] == pytest.approx(whole["rung_0"]["device_hours"])
    assert whole["total"]["device_hours"] > whole["rung_0"]["device_hours"]


def test_archived_models_cost_nothing(api: Api, zoo: World) -> None:
    with zoo.sessions.begin() as session:
        archive_model(session, "vit-a")
    api.app.state.services.watch.refresh()
    found = plan(api, planned("one"))
    assert found["against"] == 5
    assert found["rung_0"]["cells"] == 2 * 5


def test_before_anything_is_measured_the_rates_are_assumed_and_say_so(api: Api, zoo: World) -> None:
    rates = plan(api, planned("one"))["rates"]
    assert rates["measured"] == []
    assert rates["transfer"] == ASSUMED_SECONDS["cpu"]
    assert rates["attack"] == GRADIENT_FORWARDS * ASSUMED_SECONDS["cpu"]


def test_measured_seconds_predict_the_seconds_of_the_same_again(start: Callable[..., Api], zoo: World) -> None:
    """Give every recorded result the seconds of a device of known speed: the plan must find these speeds again."""
    forward, backward = 0.5, 2.0  # seconds a GMAC
    with zoo.sessions.begin() as session:
        session.execute(update(NetworkRow).values(macs=2 * 10**9))
        session.execute(update(EvaluationRow).values(seconds=EvaluationRow.n * 2 * forward))
        session.execute(update(TransferRow).values(seconds=TransferRow.common * 2 * forward))
        session.execute(update(AttackRow).values(seconds=AttackRow.attacked * 2 * GRADIENTS * backward))
    found = plan(start(), planned("one"))
    rates = found["rates"]
    assert rates["measured"] == ["attack", "evaluate", "transfer"]
    assert (rates["evaluate"], rates["transfer"], rates["attack"]) == pytest.approx((forward, forward, backward))
    gmacs, right = found["models"][0]["gmacs"], found["correct"] * IMAGES[0]
    # rung 0: select and report are evaluated, too; onto the newcomer 6 cells, and one onto each of the 6
    assert found["rung_0"]["hours_by_work"] == pytest.approx(
        {
            "evaluate": (16 + 32 + 24) * gmacs * forward / 3600,
            "attack": right * gmacs * GRADIENTS * backward / 3600,
            "transfer": right * (6 * gmacs + 6 * 2) * forward / 3600,
        }
    )
    assert found["workers"] == 1
    assert found["total"]["finish_at"] is not None


def test_without_a_worker_there_is_no_finish(api: Api, zoo: World) -> None:
    with zoo.sessions.begin() as session:
        session.execute(update(WorkerRow).values(left_at=func.now()))
    found = plan(api, planned("one"))
    assert found["workers"] == 0
    assert found["total"]["finish_seconds"] is None
    assert found["total"]["device_hours"] > 0


def test_every_model_that_would_be_refused_is_named(api: Api, zoo: World) -> None:
    body = {
        "models": [
            METADATA,
            METADATA | {"name": "b", "architecture": "resnett"},
            METADATA | {"name": "c", "classes": ["a", "b"]},
        ]
    }
    answer = api.post("/plan", json=body)
    assert answer.status_code == 422
    assert [each["where"] for each in answer.json()["errors"]] == ["models.1", "models.2"]
    assert "resnett" in answer.json()["detail"]


def test_a_name_that_is_taken_costs_nothing_and_says_whether_it_is_the_same(api: Api, zoo: World) -> None:
    register(api, name="mine")
    digest = sha256(CHECKPOINT).hexdigest()
    same = plan(api, planned("mine", checkpoint_sha256=digest))
    assert [(each["present"], each["same"]) for each in same["models"]] == [(True, True)]
    assert same["total"]["cells"] == 0
    other = plan(api, planned("mine", checkpoint_sha256="0" * 64))
    assert [(each["present"], each["same"]) for each in other["models"]] == [(True, False)]


def finish(found: Any, which: str = "total") -> float:
    return float(found[which]["finish_seconds"])


def test_what_waits_takes_time_also_where_no_pace_is_known_yet(api: Api, zoo: World) -> None:
    """A process that has just started has seen no cell arrive; the rates tell how long what is left will take."""
    before = plan(api, planned("one"))
    assert before["backlog_seconds"] == 0.0
    zoo.add_model("vit-late")
    after = plan(api, planned("one"))
    # 12 cells of 16 and 24 images, of networks with the mean GMACs of those that are there
    assert after["backlog_seconds"] > 0
    assert finish(after) > finish(before) + after["backlog_seconds"] / 2


def test_rung_0_goes_before_what_is_left_of_rung_1(api: Api, zoo: World) -> None:
    with zoo.sessions.begin() as session:
        session.execute(update(NetworkRow).values(macs=10**12))
    new, old = zoo.add_model("vit-late"), [zoo.networks[name] for name in ("vit-a", "vit-b")]
    whole = plan(api, planned("one"))
    for each in old:
        zoo.transfer(new, each, 0)
        zoo.transfer(each, new, 0)
    fewer = plan(api, planned("one"))
    assert 0 < finish(fewer, "rung_0") < finish(whole, "rung_0")
    for each in ("resnet-a", "resnet-b", "mixer-a", "mixer-b"):
        zoo.transfer(new, zoo.networks[each], 0)
        zoo.transfer(zoo.networks[each], new, 0)
    first = plan(api, planned("one"))
    assert first["backlog_seconds"] > 0, "rung 1 is left"
    own = first["rung_0"]["device_hours"] * 3600 / first["workers"]
    assert finish(first, "rung_0") == pytest.approx(own), "and is overtaken"
    assert finish(first) > finish(first, "rung_0")


def test_each_device_works_at_its_own_speed(api: Api, zoo: World) -> None:
    alone = finish(plan(api, planned("one")))
    with zoo.sessions.begin() as session:
        session.add(WorkerRow(host="gpu", pid=1, lanes="compute", device="H100", code_version="1", torch_version="2"))
    both = finish(plan(api, planned("one")))
    # assumed: a GPU is a hundred times as fast as a core
    assert both == pytest.approx(alone / 101)


def test_bytes_are_those_of_the_file_the_weights_and_the_sets_channels(api: Api, zoo: World) -> None:
    found = plan(api, planned("one", checkpoint_bytes=1000))
    of = found["total"]["bytes_by_kind"]
    assert of["checkpoints"] == 1000
    assert of["weights"] == 4 * found["models"][0]["parameters"] > 0
    right = [-(-int(found["correct"] * images * 10**6) // 10**6) for images in IMAGES.values()]
    assert of["adversarial images"] == pytest.approx(sum(right) * 32 * 32 * 1, rel=0.05), "the set has one channel"


def test_equal_content_is_measured_once(api: Api, zoo: World) -> None:
    digest = sha256(CHECKPOINT).hexdigest()
    once = plan(api, planned("one", checkpoint_sha256=digest))
    twice = plan(api, planned("one", "two", checkpoint_sha256=digest))
    assert [each["shared"] for each in twice["models"]] == [False, True]
    assert twice["total"]["bytes"] == once["total"]["bytes"]
    assert twice["total"]["cells"] == once["total"]["cells"]
    assert register(api, name="there").status_code == 202
    with zoo.sessions.begin() as session:
        session.execute(
            update(ModelRow)
            .where(ModelRow.network_id.is_(None))
            .values(network_id=zoo.networks["vit-a"], state=ModelState.READY)
        )
    assert plan(api, planned("one", checkpoint_sha256=digest))["total"]["cells"] == 0


def test_a_model_of_another_task_meets_nobody_here(api: Api, zoo: World) -> None:
    with zoo.sessions.begin() as session:
        session.add(TaskRow(name="other", digest=b"o" * 32, classes=["left", "right"]))
    found = plan(api, planned("one", classes=["left", "right"]))
    assert found["models"][0]["elsewhere"]
    assert (found["total"]["cells"], found["total"]["device_hours"]) == (0, 0)


def test_other_comparisons_that_would_measure_them_are_named(api: Api, zoo: World) -> None:
    zoo.add_comparison("more", default=False)
    assert plan(api, planned("one"))["also"] == ["more/pgd"]
