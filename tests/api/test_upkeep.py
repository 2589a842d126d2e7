"""Garbage collection and the doctor over HTTP, and by `sat`."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import func, select, update

from registry.storage.artifacts import write_artifact
from registry.tables import ArtifactRow
from tests.api.test_models import CHECKPOINT, METADATA


def put(api, content: bytes):
    services = api.app.state.services
    return write_artifact(services.store, services.sessions, "test", lambda path: path.write_bytes(content))


def test_garbage_is_shown_and_then_removed(api, sessions):
    garbage = put(api, b"garbage")
    with sessions.begin() as session:
        session.execute(update(ArtifactRow).values(touched_at=datetime.now(UTC) - timedelta(hours=2)))
    shown = api.post("/gc", params={"dry_run": True}).json()
    assert (shown["dry_run"], shown["artifacts"], shown["bytes"], shown["more"]) == (True, 1, 7, False)
    assert api.app.state.services.store.holds(garbage)
    removed = api.post("/gc").json()
    assert removed == shown | {"dry_run": False}
    assert not api.app.state.services.store.holds(garbage)
    with sessions() as session:
        assert session.scalars(select(ArtifactRow)).all() == []


def test_the_doctor_tells_what_is_wrong_until_it_is_mended(api, sessions):
    assert api.get("/doctor").json() == {"healthy": True, "findings": [], "checked": 0, "next": None}
    artifact = put(api, b"content")
    store = api.app.state.services.store
    path = store.open_local(artifact.sha256)
    path.write_bytes(b"CONTENT")
    first = api.get("/doctor", params={"deep": True}).json()
    assert [each["check"] for each in first["findings"]] == ["hashes"]
    last = api.get("/doctor", params={"deep": True, "after": first["next"]}).json()
    assert last == {"healthy": True, "findings": [], "checked": 0, "next": None}
    answer = api.get("/doctor", params={"deep": True, "after": "elsewhere"})
    assert (answer.status_code, answer.headers["content-type"]) == (422, "application/problem+json")
    put(api, b"content")  # an upload of the same bytes mends them
    assert api.get("/doctor", params={"deep": True}).json()["healthy"]


@pytest.mark.parametrize(("setting", "value"), [("artifacts_quota_bytes", 1), ("min_free_bytes", 1 << 60)])
def test_a_full_store_refuses_an_upload_and_says_so(start, world, setting, value):
    api = start(**{setting: value})
    answer = api.post("/models", data={"metadata": json.dumps(METADATA)}, files={"checkpoint": CHECKPOINT})
    assert (answer.status_code, answer.headers["content-type"]) == (507, "application/problem+json")
    assert f"SAT_{setting.upper()}" in answer.json()["detail"]
    assert answer.headers["Retry-After"]
    assert api.get("/models").json()["total"] == 0
    with world.sessions() as session:
        assert session.scalar(select(func.count()).where(ArtifactRow.kind == "checkpoint")) == 0
    assert start().post("/models", data={"metadata": json.dumps(METADATA)}, files={"checkpoint": CHECKPOINT}).is_success
