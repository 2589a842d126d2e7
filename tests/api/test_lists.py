"""GET /models: filters, search and order; a cursor stays right while models come and go."""

from typing import Any

import pytest
from sqlalchemy import select, text, update

from registry.tables import ModelRow, NameRow
from tests.api.conftest import Api
from tests.api.world import World


def names(answer: Any) -> list[str]:
    assert answer.status_code == 200, answer.text
    return [model["name"] for model in answer.json()["items"]]


def describe(api: Api, name: str, **change: object) -> None:
    assert api.patch(f"/models/{name}", json=change, headers={"If-Match": "*"}).status_code == 200


def test_every_word_of_a_search_must_occur_somewhere(api: Api, zoo: World) -> None:
    describe(api, "resnet-a", description="Trained on Handwritten digits", tags=["baseline", "Ünïcode"])
    describe(api, "resnet-b", card="# Card\n\nHandwritten by nobody; 100% _wild_")
    api.put("/aliases/champion", json={"model": "vit-a"})
    for q, found in (
        ("handwritten", ["resnet-a", "resnet-b"]),
        ("HANDWRITTEN baseline", ["resnet-a"]),
        ("digits nobody", []),
        ("ünïcode", ["resnet-a"]),
        ("test_vit", ["vit-a", "vit-b"]),
        ("champion", ["vit-a"]),
        ("resnet nobody card", ["resnet-b"]),
        ("100%", ["resnet-b"]),
        ("_wild_", ["resnet-b"]),
        ("esnet-", ["resnet-a", "resnet-b"]),  # a part of a name
        ("hand", ["resnet-a", "resnet-b"]),  # the beginning of a word
        ("Üní", []),
        ("NOBODY;", ["resnet-b"]),
        ("%", []),  # a percent sign is a percent sign
        ("'", []),
        ("\\", []),
        ("'; drop table models; --", []),
        ("  ", ["mixer-a", "mixer-b", "resnet-a", "resnet-b", "vit-a", "vit-b"]),
    ):
        answer = api.get("/models", params={"q": q})
        assert (names(answer), answer.json()["total"]) == (found, len(found)), q
    assert api.get("/models", params={"q": "x" * 501}).status_code == 422
    assert api.get("/models", params={"q": "a\0"}).status_code == 422
    many = api.get("/models", params={"q": " ".join(f"w{n}" for n in range(17))})
    assert (many.status_code, "at most 16" in many.json()["detail"]) == (422, True)


def test_what_the_words_are_about_most_comes_first(api: Api, zoo: World) -> None:
    describe(api, "vit-b", description="resnet")
    describe(api, "mixer-a", card="resnet " * 50)
    describe(api, "mixer-b", tags=["resnet"])
    ranked = names(api.get("/models?q=resnet&sort=relevance"))
    assert ranked == ["mixer-b", "resnet-a", "resnet-b", "mixer-a", "vit-b"]
    path, paged = "/models?q=resnet&sort=relevance&limit=2", []
    while path:
        page = api.get(path)
        paged += names(page)
        path = page.json()["next"]
    assert paged == ranked
    assert api.get("/models?sort=relevance").status_code == 422


def test_words_are_found_by_the_index(api: Api, zoo: World) -> None:
    with zoo.sessions() as session:
        session.execute(text("set local enable_seqscan = off"))
        plan = session.scalars(
            text("explain select id from models where words @@ to_tsquery('simple', 'conv:*')")
        ).all()
    assert "ix_models_words" in "".join(plan)


def test_accuracies_can_be_bounded(api: Api, zoo: World) -> None:
    zoo.add_model("poor", accuracy=0.4)
    zoo.add_received("waiting")  # has none, and so is in no range
    accuracies = {model["name"]: model["accuracy"] for model in api.get("/models").json()["items"]}
    for query, holds in (
        ("min_accuracy=0.7", lambda accuracy: accuracy >= 0.7),
        ("max_accuracy=0.7", lambda accuracy: accuracy <= 0.7),
        ("min_accuracy=0.1&max_accuracy=0.7", lambda accuracy: 0.1 <= accuracy <= 0.7),
    ):
        wanted = [name for name, accuracy in accuracies.items() if accuracy is not None and holds(accuracy)]
        assert names(api.get(f"/models?{query}")) == wanted
        assert 0 < len(wanted) < 7
    assert api.get("/models?min_accuracy=2").status_code == 422


def test_an_owner_can_be_asked_for(api: Api, zoo: World) -> None:
    with zoo.sessions.begin() as session:
        ids = select(NameRow.model_id).where(NameRow.name.in_(["vit-a", "vit-b"]))
        session.execute(update(ModelRow).where(ModelRow.id.in_(ids)).values(owner="vision"))
    zoo.add_received("later")  # which raises the version
    assert names(api.get("/models?owner=vision")) == ["vit-a", "vit-b"]
    assert names(api.get("/models?owner=nobody")) == []


@pytest.mark.parametrize("sort", ["name", "-name", "created_at", "-accuracy"])
def test_a_cursor_stays_right_while_models_come_and_go(api: Api, zoo: World, sort: str) -> None:
    """What was there all the time is listed exactly once, whatever comes before, behind and between."""
    before = set(zoo.networks)
    path, listed, step = f"/models?limit=1&sort={sort}", [], 0
    while path:
        answer = api.get(path)
        listed += names(answer)
        path = answer.json()["next"]
        for name in (f"aaa-{step}", f"resnet-a{step}", f"zzz-{step}"):
            if step < 3:
                zoo.add_received(name)
        if step == 3:
            assert api.delete("/models/aaa-0").status_code == 204
        step += 1
        assert step < 50
    assert len(listed) == len(set(listed))
    assert before <= set(listed)


def test_limits_and_cursors_are_checked(api: Api, zoo: World) -> None:
    for query in ("limit=201", "limit=0", "sort=colour", "state=lost", "cursor=nonsense", "deleted=perhaps"):
        answer = api.get(f"/models?{query}")
        assert answer.status_code == 422, query
        assert answer.json()["detail"]
    assert api.get("/models?limit=200").json()["next"] is None
