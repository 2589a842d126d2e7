"""Keys: made, listed, revoked; kept as hashes only; and an api does not start where nobody could be let in."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import select, text, update

from api.access.startup import UnsafeError, check_safe
from registry.__main__ import main
from registry.database import Sessions
from registry.errors import InvalidError
from registry.keys import HOW_TO_MAKE_ONE, digest_of, ensure_admin_key, is_secret, make_secret
from registry.settings import KeyMode, Settings
from registry.tables import AuditRow, KeyRow, Scope
from tests.api.callers import bearer, make_key
from tests.api.conftest import Api
from tests.api.test_models import METADATA, register
from tests.api.test_process import environment, running
from tests.api.world import World

__all__ = ["environment"]


@pytest.fixture
def guarded(start: Callable[..., Api], sessions: Sessions) -> Api:
    """A client of an app that asks for keys; it presents an administrator's."""
    api = start(keys=KeyMode.REQUIRED)
    api.headers.update(bearer(make_key(sessions, "root", Scope.ADMIN, team="operations")))
    return api


def test_a_key_is_256_random_bits_behind_a_prefix() -> None:
    made = {make_secret() for _ in range(1000)}
    assert len(made) == 1000
    assert all(is_secret(secret) and secret.startswith("sat_") and len(secret) == 4 + 43 for secret in made)


def test_a_key_is_shown_once_and_only_its_hash_is_kept(guarded: Api, sessions: Sessions) -> None:
    answer = guarded.post("/keys", json={"name": "ci", "scope": "write"})
    assert answer.status_code == 201
    assert answer.headers["cache-control"] == "no-store"
    secret = answer.json()["key"]
    assert is_secret(secret)
    assert answer.json()["team"] == "operations"
    with sessions() as session:
        assert session.scalars(select(KeyRow.sha256).where(KeyRow.name == "ci")).one() == digest_of(secret)
        for table in ("api_keys", "audit", "idempotency_keys"):
            assert secret not in str(session.execute(text(f"select t::text from {table} t")).all())
    assert secret not in guarded.get("/keys").text
    listed = {each["name"]: each for each in guarded.get("/keys").json()["items"]}
    assert listed["ci"]["scope"] == "write"
    assert "key" not in listed["ci"]
    assert guarded.get("/models", headers=bearer(secret)).status_code == 200


def test_a_revoked_key_is_listed_and_opens_nothing(guarded: Api, sessions: Sessions) -> None:
    secret = guarded.post("/keys", json={"name": "ci"}).json()["key"]
    assert guarded.get("/models", headers=bearer(secret)).status_code == 200
    assert guarded.delete("/keys/ci").status_code == 204
    assert guarded.get("/models", headers=bearer(secret)).status_code == 401  # this process knows at once
    assert guarded.delete("/keys/ci").status_code == 204
    assert guarded.get("/keys").json()["items"][1]["revoked_at"] is not None
    assert guarded.delete("/keys/none").status_code == 404
    with sessions() as session:
        rows = session.execute(select(AuditRow.actor, AuditRow.action, AuditRow.subject).order_by(AuditRow.id))
        assert rows.all()[1:] == [("root", "key.create", "ci"), ("root", "key.revoke", "ci")]
        assert session.scalars(select(AuditRow.request_id)).all()[-1] is not None


def test_keys_come_in_pages(guarded: Api, sessions: Sessions) -> None:
    for number in range(5):
        make_key(sessions, f"key-{number}", Scope.READ)
    names, path = [], "/keys?limit=2"
    while path:
        page = guarded.get(path).json()
        names += [each["name"] for each in page["items"]]
        path = page["next"]
    assert names == ["root", *(f"key-{number}" for number in range(5))]
    assert page["total"] == 6


def test_what_no_key_can_be_is_refused(guarded: Api) -> None:
    changes = (
        {"name": ""},
        {"name": "a b"},
        {"name": "../a"},
        {"scope": "root"},
        {"team": ""},
        {"expires_at": "2001-01-01T00:00:00Z"},
        {"expires_at": "2101-01-01T00:00:00"},
        {"key": "sat_mine"},
    )
    for change in changes:
        assert guarded.post("/keys", json={"name": "ci"} | change).status_code == 422, change


def test_a_name_is_never_given_twice(guarded: Api) -> None:
    assert guarded.post("/keys", json={"name": "ci"}).status_code == 201
    assert guarded.post("/keys", json={"name": "ci"}).status_code == 409
    guarded.delete("/keys/ci")
    assert guarded.post("/keys", json={"name": "ci"}).status_code == 409


def test_the_last_key_that_can_make_others_stays(guarded: Api, sessions: Sessions) -> None:
    make_key(sessions, "reader", Scope.READ)
    answer = guarded.delete("/keys/root")
    assert answer.status_code == 409
    assert "make another one first" in answer.json()["detail"]
    soon = datetime.now(UTC) + timedelta(hours=1)
    expiring = guarded.post("/keys", json={"name": "second", "scope": "admin", "expires_at": soon.isoformat()})
    assert expiring.status_code == 201
    assert guarded.delete("/keys/root").status_code == 204


def test_the_operators_key_is_entered_once(sessions: Sessions) -> None:
    first, second = make_secret(), make_secret()
    for secret in (first, first, second, first, second):
        with sessions.begin() as session:
            ensure_admin_key(session, secret)
    with sessions() as session:
        rows = session.execute(select(KeyRow.name, KeyRow.scope, KeyRow.sha256).order_by(KeyRow.id)).all()
    suffix = digest_of(second).hex()[:8]
    assert rows == [("admin", Scope.ADMIN, digest_of(first)), (f"admin-{suffix}", Scope.ADMIN, digest_of(second))]


def test_what_is_no_key_is_not_entered_and_not_repeated(sessions: Sessions) -> None:
    for secret in ("", "secret", "sat_short", "sat_" + "a" * 42 + "!"):
        with pytest.raises(InvalidError) as error, sessions.begin() as session:
            ensure_admin_key(session, secret)
        assert HOW_TO_MAKE_ONE in error.value.detail
        assert not secret or secret not in error.value.detail


def test_the_way_to_make_a_key_makes_one() -> None:
    done = subprocess.run(["bash", "-c", HOW_TO_MAKE_ONE], capture_output=True, text=True, check=True, timeout=20)
    assert is_secret(done.stdout.strip())


def test_the_command_makes_the_first_key(
    settings: Settings, sessions: Sessions, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DATABASE_URL", settings.database_url)
    assert main(["keys", "create", "--scope", "admin", "--days", "30"]) == 0
    secret = capsys.readouterr().out.strip()
    with sessions() as session:
        row = session.scalars(select(KeyRow)).one()
    assert (row.name, row.team, row.scope, row.sha256) == ("admin", "admin", Scope.ADMIN, digest_of(secret))
    assert row.expires_at is not None
    assert main(["keys", "create", "--scope", "admin"]) == 1
    assert "Choose another name" in capsys.readouterr().err


def test_the_migration_enters_the_operators_key(
    settings: Settings, sessions: Sessions, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("DATABASE_URL", settings.database_url)
    monkeypatch.setenv("SAT_ADMIN_KEY", "")
    assert main(["migrate"]) == 0
    secret, other = make_secret(), make_secret()
    monkeypatch.setenv("SAT_ADMIN_KEY", secret)
    assert main(["migrate"]) == 0
    monkeypatch.setenv("SAT_ADMIN_KEY", "")
    (tmp_path / "key").write_text(other + "\n")
    monkeypatch.setenv("SAT_ADMIN_KEY_FILE", str(tmp_path / "key"))
    assert main(["migrate"]) == 0
    with sessions() as session:
        assert set(session.scalars(select(KeyRow.sha256))) == {digest_of(secret), digest_of(other)}


def start_up(environment: dict[str, str], **changes: str) -> subprocess.CompletedProcess[str]:
    """An api process that is to refuse."""
    return subprocess.run(
        [sys.executable, "-m", "api"],
        env=os.environ | environment | {"SAT_PORT": "0"} | changes,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_an_api_does_not_start_where_nobody_could_be_let_in(
    environment: dict[str, str], settings: Settings, sessions: Sessions, tmp_path: Path
) -> None:
    done = start_up(environment, SAT_KEYS="required")
    assert done.returncode == 1
    assert "python -m registry keys create --scope admin" in done.stderr
    secret = make_key(sessions, "root", Scope.ADMIN)
    with sessions.begin() as session:
        session.execute(update(KeyRow).values(revoked_at=datetime.now(UTC)))
    with pytest.raises(UnsafeError, match="No API key"):
        check_safe(settings.model_copy(update={"keys": KeyMode.REQUIRED}), None)
    with sessions.begin() as session:
        session.execute(update(KeyRow).values(revoked_at=None))
    with running(environment | {"SAT_KEYS": "required"}, tmp_path / "log") as (_, client):
        assert client.get("/models").status_code == 401
        assert client.get("/models", headers=bearer(secret)).status_code == 200


def test_an_api_without_keys_listens_on_this_machine_alone(environment: dict[str, str], settings: Settings) -> None:
    done = start_up(environment, SAT_HOST="0.0.0.0")
    assert done.returncode == 1
    assert "SAT_HOST=127.0.0.1, or SAT_KEYS=required" in done.stderr
    named = settings.model_copy(update={"allowed_hosts": ("localhost",)})
    for host in ("::", "192.0.2.1", "example.org", "", "127.0.0.1.example.org"):
        with pytest.raises(UnsafeError, match="on this machine alone"):
            check_safe(named.model_copy(update={"host": host}), None)
    for host in ("127.0.0.1", "127.8.8.8", "::1", "localhost"):
        check_safe(named.model_copy(update={"host": host}), None)
    with socket.create_server(("0.0.0.0", 0)) as listener, pytest.raises(UnsafeError, match=r"0\.0\.0\.0"):
        check_safe(named, listener)
    with pytest.raises(UnsafeError, match="SAT_ALLOWED_HOSTS"):
        check_safe(settings, None)


def test_loopback_answers_to_its_own_names_alone() -> None:
    needed = {"database_url": "a", "redis_url": "b", "artifacts": "c"}
    assert Settings.model_validate(needed | {"keys": "loopback"}).allowed_hosts == ("127.0.0.1", "localhost", "::1")
    assert Settings.model_validate(needed).keys is KeyMode.REQUIRED


def test_no_key_is_ever_in_a_log(environment: dict[str, str], world: World, tmp_path: Path) -> None:
    log, secret = tmp_path / "log", make_key(world.sessions, "root", Scope.ADMIN)
    with running(environment | {"SAT_KEYS": "required"}, log) as (process, client):
        client.headers.update(bearer(secret))
        made = client.post("/keys", json={"name": "second", "scope": "write"}).json()["key"]
        register(client)
        client.post("/session", json={"key": made})
        client.post("/session", content=made.encode())
        client.post("/session", data={"key": made, "next": "/docs"})
        client.get("/models", headers={"Authorization": f"Bearer {made}x"})
        client.post("/models", json=METADATA, headers={"Idempotency-Key": "a", "X-Request-Id": secret})
        client.get("/models", headers={"Authorization": secret})
        with world.sessions() as session:
            session.execute(text("alter table models rename to elsewhere"))  # faults are logged at length
            session.commit()
            for path in ("/models/resnet-a/retry", "/keys"):
                client.post(path, json={"name": "third"})
            session.execute(text("alter table elsewhere rename to models"))
            session.commit()
        time.sleep(0.2)
        process.terminate()
        process.wait(20)
    written = log.read_text(encoding="utf-8")
    assert '"request"' in written
    assert secret not in written
    assert made not in written
