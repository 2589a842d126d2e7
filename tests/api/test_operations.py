"""What operators ask of a running registry: workers, readiness by migration, logs, and how it stops."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from sqlalchemy import func, select, text, update

from registry.archiving import archive_model
from registry.database import foreign_revision
from registry.settings import Settings
from registry.tables import WorkerRow, WorkerWish
from tests.api.conftest import Api
from tests.api.test_process import running
from tests.api.world import World


@pytest.fixture
def environment(settings: Settings) -> dict[str, str]:
    """What a process on this test's database is told."""
    return {
        **os.environ,
        "DATABASE_URL": settings.database_url,
        "REDIS_URL": settings.redis_url,
        "SAT_ARTIFACTS": settings.artifacts,
        "SAT_CACHE": str(settings.cache),
        "SAT_KEYS": "loopback",
        "SAT_ALLOWED_HOSTS": "127.0.0.1,here",
    }


def test_a_worker_is_asked_and_shows_what_it_was_asked(api: Api, world: World) -> None:
    for wish in WorkerWish:
        answer = api.patch(f"/workers/{world.worker_id}", json={"wish": wish})
        assert answer.status_code == 200, answer.text
        assert answer.json()["wish"] == wish
    (worker,) = api.get("/workers").json()["items"]
    assert worker["wish"] == WorkerWish.DRAIN


def test_who_has_left_cannot_be_asked_and_is_listed_only_on_request(api: Api, world: World) -> None:
    with world.sessions.begin() as session:
        session.execute(update(WorkerRow).values(left_at=func.now()))
    answer = api.patch(f"/workers/{world.worker_id}", json={"wish": "pause"})
    assert answer.status_code == 409
    assert "has left" in answer.json()["detail"]
    assert api.get("/workers").json()["total"] == 0
    (gone,) = api.get("/workers?all=true").json()["items"]
    assert (gone["alive"], gone["id"]) == (False, world.worker_id)


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [("/workers/999", {"wish": "run"}, 404), ("/workers/0", {"wish": "run"}, 422), ("/workers/1", {"wish": "go"}, 422),
     ("/workers/1", {}, 422), (f"/workers/{2**31}", {"wish": "run"}, 422)],
)  # fmt: skip
def test_other_orders_are_refused_with_a_sentence(api: Api, world: World, path: str, body: object, status: int) -> None:
    answer = api.patch(path, json=body)
    assert answer.status_code == status
    assert answer.json()["detail"]


def test_a_comparison_is_drained_paused_and_resumed(api: Api, zoo: World) -> None:
    for state in ("draining", "paused", "measuring"):
        assert api.patch("/comparisons/digits/pgd", json={"state": state}).json()["state"] == state
        assert api.get("/comparisons").json()["items"][0]["state"] == state


@pytest.mark.parametrize(
    ("revision", "says"), [("9999", "newer than this code"), ("0001", "registry migrate"), (None, "no tables")]
)
def test_a_database_of_another_migration_is_told_by_readyz_and_refused_by_workers(
    api: Api,
    world: World,
    environment: dict[str, str],
    revision: str | None,
    says: str,
) -> None:
    with world.sessions.begin() as session:
        session.execute(text("delete from alembic_version"))
        if revision:
            session.execute(text("insert into alembic_version values (:revision)"), {"revision": revision})
    answer = api.get("/readyz", settle=False)
    assert answer.status_code == 503
    assert says in answer.json()["checks"]["migrations"]
    with world.sessions() as session:
        assert says in (foreign_revision(session) or "")
    if revision == "9999":  # one real process is enough: it takes seconds to import torch
        done = subprocess.run(
            [sys.executable, "-m", "worker"], env=environment | {"SAT_DEVICE": "cpu"}, capture_output=True, text=True,
            check=False, timeout=120,
        )  # fmt: skip
        assert done.returncode == 1
        assert "newer than this code" in json.loads(done.stderr.splitlines()[-1])["event"]
        with world.sessions() as session:
            assert session.scalar(select(func.count()).select_from(WorkerRow)) == 1  # it did not enter


def test_an_upload_that_the_stop_cuts_off_is_told(
    environment: dict[str, str],
    world: World,
    tmp_path: Path,
) -> None:
    with running(environment | {"SAT_GRACE_SECONDS": "1"}, tmp_path / "log") as (process, client):
        url = client.base_url
        with socket.create_connection((url.host, url.port), timeout=30) as connection:
            head = "POST /models HTTP/1.1\r\nHost: here\r\nContent-Type: multipart/form-data; boundary=X\r\n"
            begun = '--X\r\nContent-Disposition: form-data; name="metadata"\r\n\r\n{"name":'
            connection.sendall(f"{head}Content-Length: 10000\r\n\r\n{begun}".encode())
            time.sleep(0.5)
            process.send_signal(signal.SIGTERM)
            answer = b""
            while received := connection.recv(65536):
                answer += received
        assert process.wait(30) in {0, -signal.SIGTERM}
    assert answer.startswith(b"HTTP/1.1 503")
    assert b"retry-after: 5" in answer.lower()
    assert b"the server is stopping" in answer


def test_archived_models_are_listed_answered_about_and_not_recommended(api: Api, zoo: World) -> None:
    with zoo.sessions.begin() as session:
        archive_model(session, "vit-a")
    assert [each["name"] for each in api.get("/models?state=archived").json()["items"]] == ["vit-a"]
    detail = api.get("/models/vit-a").json()
    assert (detail["state"], detail["progress"]["stage"], detail["progress"]["complete"]) == (
        "archived",
        "archived",
        True,
    )
    assert "vit-a" in [each["model"] for each in api.get("/similar/vit-b").json()["items"]]
    assert len(api.get("/similar/vit-a?k=10").json()["items"]) == 5
    assert api.get("/pairs/vit-a/vit-b").json()["sat"] is not None
    ensemble = api.get("/recommend/ensemble?n=3&wait=0").json()
    assert {"model": "vit-a", "reason": "it is archived"} in ensemble["left_out"]


def test_a_newcomer_does_not_wait_for_archived_models(api: Api, zoo: World) -> None:
    with zoo.sessions.begin() as session:
        archive_model(session, "vit-a")
    zoo.add_model("resnet-c")
    zoo.measure("resnet-c", "resnet-a", "resnet-b", "vit-b", "mixer-a", "mixer-b")
    progress = api.get("/models/resnet-c").json()["progress"]
    assert (progress["complete"], progress["pairs"], progress["pairs_measured"]) == (True, 5, 5)
    assert api.get("/similar/resnet-c").json()["missing"] == 0
    assert "was archived" in api.get("/pairs/resnet-c/vit-a").json()["reason"]
    assert api.get("/comparisons").json()["items"][0]["progress"]["cells"] == 2 * 6 * 5


def test_a_log_line_of_a_request_has_its_id_and_no_secret(
    environment: dict[str, str],
    world: World,
    tmp_path: Path,
) -> None:
    log = tmp_path / "log"
    with running(environment | {"SAT_LOG_FORMAT": "logfmt"}, log) as (process, client):
        client.patch(f"/workers/{world.worker_id}", json={"wish": "pause"}, headers={"X-Request-Id": "mine"})
        process.terminate()
        process.wait(30)
    (line,) = [each for each in log.read_text(encoding="utf-8").splitlines() if "event=request" in each]
    assert "request_id=mine" in line
    assert f"path=/workers/{world.worker_id}" in line
    password = environment["DATABASE_URL"].partition("://")[2].partition("@")[0].partition(":")[2]
    assert not password or password not in log.read_text(encoding="utf-8")
