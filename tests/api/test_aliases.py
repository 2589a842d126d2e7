"""Aliases resolve everywhere; a protected one is an administrator's to move."""

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import select, update

from registry.access import Actor
from registry.aliases import AliasDeclaration, delete_alias, set_alias
from registry.errors import ForbiddenError
from registry.tables import AuditRow, ModelRow, Scope
from tests.api.conftest import Api
from tests.api.test_models import register
from tests.api.world import World

WRITER = Actor(name="key", team="us", scope=Scope.WRITE)


def put(api: Api, alias: str, model: str, **more: Any) -> Any:
    return api.put(f"/aliases/{alias}", json={"model": model, **more})


def test_an_alias_names_its_model_everywhere(api: Api, zoo: World) -> None:
    made = put(api, "champion", "resnet-a")
    assert (made.status_code, made.headers["location"]) == (201, "/aliases/champion")
    digest = api.get("/models/resnet-a").json()["digest"]
    assert made.json() == {"alias": "champion", "model": "resnet-a", "digest": digest, "protected": False}
    for reference in ("champion", f"@{digest}", f"@{digest[:8]}"):
        assert api.get(f"/models/{reference}", settle=False).json()["name"] == "resnet-a"
        assert api.get(f"/similar/{reference}").json()["model"] == "resnet-a"
        assert api.get(f"/pairs/{reference}/vit-a").json()["a"] == "resnet-a"
        assert api.get(f"/recommend/teacher?student={reference}").json()["student"] == "resnet-a"
        assert put(api, f"by-{reference[:4].strip('@')}", reference).status_code in {200, 201}
    assert "champion" in api.get("/models/resnet-a").json()["aliases"]


def test_an_alias_can_be_moved_and_the_same_again_is_harmless(api: Api, zoo: World) -> None:
    assert put(api, "champion", "resnet-a").status_code == 201
    assert put(api, "champion", "resnet-a").status_code == 200
    assert put(api, "champion", "vit-a").status_code == 200
    assert api.get("/models/champion", settle=False).json()["name"] == "vit-a"
    assert api.get("/models/resnet-a", settle=False).json()["aliases"] == []
    log = api.get("/audit?subject=champion").json()["items"]
    assert [(entry["action"], entry["detail"]["before"]) for entry in log] == [
        ("alias.move", "resnet-a"),
        ("alias.create", None),
    ]


def test_aliases_are_listed_in_pages_and_deleted(api: Api, zoo: World) -> None:
    for name in ("c", "a", "b"):
        put(api, name, "vit-a", protected=name == "b")
    first = api.get("/aliases?limit=2").json()
    assert ([one["alias"] for one in first["items"]], first["total"]) == (["a", "b"], 3)
    assert [one["alias"] for one in api.get(first["next"]).json()["items"]] == ["c"]
    assert api.get("/aliases/b").json()["protected"] is True
    assert api.delete("/aliases/a").status_code == 204
    assert api.get("/aliases/a").status_code == api.delete("/aliases/a").status_code == 404
    assert api.get("/models/a", settle=False).status_code == 404
    assert api.get("/models/vit-a").status_code == 200


def test_an_alias_is_a_name_that_no_model_has(api: Api, zoo: World) -> None:
    for alias, status in (("resnet-b", 409), ("no%20spaces", 422), ("a" * 129, 422), ("@ab", 422)):
        answer = put(api, alias, "resnet-a")
        assert answer.status_code == status, alias
        assert answer.json()["detail"]


def test_unknown_models_and_fields_are_named(api: Api, zoo: World) -> None:
    unknown = put(api, "champion", "resnet-x")
    assert (unknown.status_code, "resnet-a" in unknown.json()["near"]) == (404, True)
    assert put(api, "champion", "resnet-a", colour="red").status_code == 422
    assert api.get("/aliases").json()["total"] == 0


def test_a_protected_alias_keeps_its_model(api: Api, zoo: World) -> None:
    put(api, "champion", "resnet-a", protected=True)
    refused = api.delete("/models/resnet-a")
    assert refused.status_code == 409
    assert "champion" in refused.json()["detail"]
    assert api.get("/models/resnet-a").status_code == 200
    put(api, "champion", "vit-a")  # stays protected
    assert api.get("/aliases/champion").json()["protected"] is True
    assert api.delete("/models/resnet-a").status_code == 204


def test_only_an_administrator_moves_a_protected_alias(api: Api, zoo: World) -> None:
    with zoo.sessions.begin() as session:
        session.execute(update(ModelRow).values(owner="us"))

    def attempt(change: Callable[[Any], object]) -> None:
        with zoo.sessions.begin() as session:
            change(session)

    def to(model: str, *, protected: bool | None = None) -> Callable[[Any], object]:
        declaration = AliasDeclaration(model=model, protected=protected)
        return lambda session: set_alias(session, "champion", declaration, actor=WRITER)

    with pytest.raises(ForbiddenError, match="admin"):
        attempt(to("resnet-a", protected=True))
    attempt(to("resnet-a"))
    put(api, "champion", "resnet-a", protected=True)
    for change in (to("vit-a"), to("resnet-a", protected=False), lambda s: delete_alias(s, "champion", actor=WRITER)):
        with pytest.raises(ForbiddenError, match="admin"):
            attempt(change)
    attempt(to("resnet-a"))  # the same again is harmless
    assert api.get("/aliases/champion").json()["model"] == "resnet-a"
    put(api, "champion", "resnet-a", protected=False)
    attempt(to("vit-a"))


def test_an_alias_of_another_team_cannot_be_taken(api: Api, zoo: World) -> None:
    put(api, "theirs", "resnet-a")
    with zoo.sessions.begin() as session:
        mine = api.get("/models/vit-a").json()["reference"].removeprefix("~")
        session.execute(update(ModelRow).values(owner="them"))
        session.execute(update(ModelRow).where(ModelRow.id == int(mine)).values(owner="us"))
    with zoo.sessions.begin() as session:
        for alias, model in (("theirs", "vit-a"), ("ours", "resnet-a")):
            with pytest.raises(ForbiddenError, match="them"), session.begin_nested():
                set_alias(session, alias, AliasDeclaration(model=model), actor=WRITER)
        with pytest.raises(ForbiddenError, match="them"):
            delete_alias(session, "theirs", actor=WRITER)


def test_an_alias_that_many_move_at_once_ends_at_one_of_them(
    api: Api, zoo: World, together: Callable[..., list[Any]]
) -> None:
    models = ["resnet-a", "resnet-b", "vit-a", "vit-b", "mixer-a", "mixer-b"]
    answers = together([lambda name=name: put(api, "champion", name) for name in models])
    assert sorted(answer.status_code for answer in answers) == [200] * 5 + [201]
    with zoo.sessions() as session:
        log = session.scalars(select(AuditRow).where(AuditRow.subject == "champion").order_by(AuditRow.id)).all()
    assert [entry.detail["before"] for entry in log[1:]] == [entry.detail["model"] for entry in log[:-1]]
    assert api.get("/aliases/champion").json()["model"] == log[-1].detail["model"]


def test_a_model_that_is_registered_under_an_alias_is_refused(api: Api, zoo: World) -> None:
    put(api, "champion", "vit-a")
    answer = register(api, name="champion")
    assert answer.status_code == 409
