"""A request under an Idempotency-Key is done once and answered alike, whatever dies or is sent again."""

import json
import threading
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import httpx
import numpy as np
import pytest
from safetensors.numpy import save
from sqlalchemy import func, select, text, update

from api.app import create_app
from registry.database import Sessions
from registry.errors import RunningError
from registry.idempotency import Ticket, find_settled, settle
from registry.settings import KeyMode, Settings
from registry.tables import AuditRow, IdempotencyRow, ModelRow, Scope
from tests.api.callers import bearer, make_key
from tests.api.conftest import Api
from tests.api.test_access import templates
from tests.api.test_models import CHECKPOINT, METADATA
from tests.api.test_process import environment, running, wait_until
from tests.api.world import World

__all__ = ["environment"]
KEY = {"Idempotency-Key": "5b0c-1"}
# they create and start nothing, or (gc) nothing more when they are sent again
WITHOUT = {"/session", "/plan", "/gc"}


def counted(sessions: Sessions, table: type) -> int:
    with sessions() as session:
        return session.scalar(select(func.count()).select_from(table)) or 0


def upload(api, key: dict[str, str], content: bytes = CHECKPOINT, **changes: object):
    form = {"metadata": json.dumps(METADATA | changes)}
    return api.post("/models", data=form, files={"checkpoint": ("a.safetensors", content)}, headers=key)


def test_every_route_that_creates_or_starts_something_takes_a_key() -> None:
    app = create_app(Settings.model_validate({"database_url": "none", "redis_url": "redis://none", "artifacts": "/x"}))
    posts = {path for path, methods in templates(app.router.routes) if "POST" in methods} - WITHOUT
    assert len(posts) >= 6
    for path in posts:
        parameters = app.openapi()["paths"][path]["post"].get("parameters", [])
        assert "Idempotency-Key" in {each["name"] for each in parameters}, path


def test_the_same_request_is_done_once_and_answered_alike(api: Api, world: World) -> None:
    first = upload(api, KEY)
    assert first.status_code == 202
    again = upload(api, KEY)  # the form's boundary is another one
    assert first.request.headers["content-type"] != again.request.headers["content-type"]
    assert (again.status_code, again.content) == (first.status_code, first.content)
    assert again.headers["location"] == first.headers["location"]
    assert again.headers["idempotency-replayed"] == "true"
    assert "idempotency-replayed" not in first.headers
    assert counted(world.sessions, ModelRow) == 1
    # and it is the first one's answer, not another look: the model has been deleted meanwhile
    assert api.delete("/models/resnet-a", headers={"If-Match": "*"}).status_code == 204
    assert upload(api, KEY).content == first.content
    assert counted(world.sessions, ModelRow) == 1


def test_another_request_under_the_key_is_422(api: Api, world: World) -> None:
    assert upload(api, KEY).status_code == 202
    others = [
        upload(api, KEY, name="resnet-b"),
        upload(api, KEY, save({"other": np.zeros(3)})),
        api.post("/protocols", json={"name": "new"}, headers=KEY),
        api.post("/models?image_set=digits", json=METADATA, headers=KEY),
        api.post("/models/resnet-a/retry", headers=KEY),
    ]
    for answer in others:
        assert answer.status_code == 422, answer.text
        assert "Idempotency-Key" in answer.json()["detail"]
    assert counted(world.sessions, ModelRow) == 1


def test_every_creating_route_replays(api: Api, world: World) -> None:
    images = save({"images": np.zeros((9, 8, 8, 1), "uint8"), "labels": np.arange(9)})
    metadata = {
        "name": "new",
        "classes": [str(n) for n in range(9)],
        "parts": {"attack": 3, "select": 3, "report": 3},
        "prefix": 3,
    }

    def image_set(key: dict[str, str]):
        files = {"content": ("a.safetensors", images)}
        return api.post("/image-sets", data={"metadata": json.dumps(metadata)}, files=files, headers=key)

    asked: list[Callable[[dict[str, str]], object]] = [
        lambda key: api.post("/protocols", json={"name": "short", "steps": 5}, headers=key),
        lambda key: api.post("/comparisons", json={"image_set": "digits", "protocol": "short"}, headers=key),
        lambda key: api.post("/keys", json={"name": "ci"}, headers=key),
        image_set,
    ]
    for number, ask in enumerate(asked):
        key = {"Idempotency-Key": f"key-{number}"}
        first, again = ask(key), ask(key)
        assert first.status_code == again.status_code == 201, (first.text, again.text)
        assert again.headers["idempotency-replayed"] == "true"
        if number != 2:
            assert first.content == again.content


def test_a_key_that_was_made_is_not_shown_again(api: Api, world: World) -> None:
    first = api.post("/keys", json={"name": "ci", "scope": "write"}, headers=KEY).json()
    again = api.post("/keys", json={"name": "ci", "scope": "write"}, headers=KEY).json()
    assert first["key"].startswith("sat_")
    assert again == first | {"key": None}
    with world.sessions() as session:
        kept = session.scalars(select(IdempotencyRow.body)).one()
    assert first["key"].encode() not in kept


def test_a_refused_request_may_be_sent_again_mended(api: Api, world: World) -> None:
    assert upload(api, KEY, architecture="nothing").status_code == 422
    assert upload(api, KEY, b"nothing").status_code == 422
    assert counted(world.sessions, IdempotencyRow) == 0
    assert upload(api, KEY).status_code == 202


def test_while_a_request_runs_the_same_one_is_409(api: Api, world: World) -> None:
    answers = []
    with world.sessions() as session:
        # its transaction waits here
        session.execute(text("lock table protocols in exclusive mode"))
        thread = threading.Thread(
            target=lambda: answers.append(api.post("/protocols", json={"name": "short", "steps": 5}, headers=KEY))
        )
        thread.start()
        wait_until(lambda: _waits_for_a_lock(world.sessions))
        second = api.post("/protocols", json={"name": "short", "steps": 5}, headers=KEY)
        assert second.status_code == 409
        assert int(second.headers["retry-after"]) > 0
    thread.join()
    assert [answer.status_code for answer in answers] == [201]
    assert api.post("/protocols", json={"name": "short", "steps": 5}, headers=KEY).content == answers[0].content


def test_two_processes_that_do_the_same_at_once_do_it_once(sessions: Sessions) -> None:
    ticket = Ticket("team", "key", b"s" * 32)
    refused = []
    with sessions.begin() as first:
        settle(first, ticket, 201, {}, b"{}")

        def second() -> None:
            with pytest.raises(RunningError) as error, sessions.begin() as session:
                session.add(AuditRow(actor="second", action="a", subject="s"))
                session.flush()
                settle(session, ticket, 201, {}, b"{}")
            refused.append(error)

        thread = threading.Thread(target=second)
        thread.start()
        wait_until(lambda: _waits_for_a_lock(sessions))
    thread.join(20)
    assert len(refused) == 1
    assert counted(sessions, AuditRow) == 0


def test_an_answer_is_kept_for_a_day(sessions: Sessions) -> None:
    for number in range(3):
        with sessions.begin() as session:
            settle(session, Ticket("", f"old-{number}", b"s" * 32), 201, {}, b"{}")
    with sessions.begin() as session:
        session.execute(update(IdempotencyRow).values(created_at=func.now() - timedelta(days=1, seconds=1)))
    with sessions.begin() as session:
        assert find_settled(session, "", "old-0") is None
        settle(session, Ticket("", "old-0", b"t" * 32), 202, {}, b"{}")  # the key may be used anew
        found = find_settled(session, "", "old-0")
        assert found is not None
        assert found.sha256 == b"t" * 32
    assert counted(sessions, IdempotencyRow) == 1


def test_keys_of_other_teams_are_other_keys(start: Callable[..., Api], world: World) -> None:
    api = start(keys=KeyMode.REQUIRED)
    ours = bearer(make_key(world.sessions, "ours", Scope.WRITE))
    theirs = bearer(make_key(world.sessions, "theirs", Scope.WRITE, team="speech"))
    assert upload(api, KEY | ours).status_code == 202
    assert upload(api, KEY | theirs, name="resnet-b").status_code == 202
    assert counted(world.sessions, ModelRow) == 2


def test_what_is_no_idempotency_key_is_422(api: Api, world: World) -> None:
    for key in ("", " ", "a b", "\t", "k" * 256, "k\xe4"):
        answer = api.post("/protocols", json={"name": "a"}, headers={"Idempotency-Key": key.encode("latin-1")})
        assert answer.status_code == 422, key
    assert counted(world.sessions, IdempotencyRow) == 0


def test_a_process_that_is_killed_between_commit_and_answer_did_it_once(
    environment: dict[str, str], world: World, tmp_path: Path
) -> None:
    world.add_model("resnet-z")
    answers: list[object] = []

    def lose(client: httpx.Client) -> None:
        try:
            answers.append(upload(client, KEY))
        except httpx.HTTPError as error:
            answers.append(error)

    with running(environment, tmp_path / "log") as (process, client):
        client.get("/similar/resnet-z")  # the process has its view
        with world.sessions() as session:
            # a registration reads these after its commit, to answer, and not before
            session.execute(text("lock table evaluations, attacks, pairs in access exclusive mode"))
            thread = threading.Thread(target=lose, args=[client])
            thread.start()
            wait_until(lambda: counted(world.sessions, IdempotencyRow) == 1)
            process.kill()
            thread.join(20)
    assert [type(answer) for answer in answers] == [httpx.RemoteProtocolError]
    with world.sessions() as session:
        assert session.execute(select(IdempotencyRow.status, IdempotencyRow.body)).one() == (202, b"")
    with running(environment, tmp_path / "log") as (_, client):
        again = upload(client, KEY)
    assert (again.status_code, again.headers["location"]) == (202, "/models/resnet-a")
    assert again.json()["name"] == "resnet-a"
    assert again.headers["idempotency-replayed"] == "true"
    assert counted(world.sessions, ModelRow) == 2


def _waits_for_a_lock(sessions: Sessions) -> bool:
    query = "select count(*) from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()"
    with sessions() as session:
        return bool(session.scalar(text(query)))
