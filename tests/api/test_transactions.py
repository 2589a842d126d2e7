"""An api's transactions are short, and one whose process is frozen or gone ends without it."""

import time
from collections.abc import Callable

import numpy as np
import pytest
from safetensors.numpy import save
from sqlalchemy import select, text
from sqlalchemy.exc import InternalError

from api import services as parts
from registry.database import Sessions
from registry.errors import UnavailableError
from registry.reads.outage import explain
from registry.tables import ComparisonRow
from tests.api.conftest import Api
from tests.api.test_models import METADATA
from tests.api.world import World

WAITING = text(
    "select count(*) from pg_stat_activity where application_name = 'sat-api' and state like 'idle in transaction%'"
    " and datname = current_database()"
)


def waiting_transactions(sessions: Sessions) -> int:
    with sessions() as session:
        return session.execute(WAITING).scalar_one()


def test_a_transaction_that_its_process_forgot_lets_its_locks_go(
    start: Callable[..., Api], sessions: Sessions, zoo: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts, "IDLE_SECONDS", 0.5)
    frozen = start().app.state.services.sessions()
    frozen.scalars(select(ComparisonRow).with_for_update()).all()
    time.sleep(0.7)
    with sessions.begin() as session:
        assert session.scalars(select(ComparisonRow).with_for_update(nowait=True)).all()
    with pytest.raises(InternalError, match="idle-in-transaction") as ended:
        frozen.execute(text("select 1"))
    frozen.close()
    assert isinstance(explain(ended.value), UnavailableError), "503 with Retry-After, as for any database that is away"


def test_the_limits_are_those_of_every_connection(api: Api) -> None:
    with api.app.state.services.sessions() as session:
        shown = {
            name: session.execute(text(f"show {name}")).scalar_one()
            for name in ("idle_in_transaction_session_timeout", "statement_timeout", "lock_timeout")
        }
        driver = session.connection().connection.driver_connection
        assert driver is not None
        told = driver.info.get_parameters()
    assert shown == {
        "idle_in_transaction_session_timeout": "15s", "statement_timeout": "2min", "lock_timeout": "30s"
    }  # fmt: skip
    assert {name: told[name] for name in told if name.startswith(("keepalives_", "tcp_"))} == {
        "keepalives_idle": "10", "keepalives_interval": "5", "keepalives_count": "3", "tcp_user_timeout": "30000"
    }  # fmt: skip


def test_nothing_slow_happens_inside_a_transaction(
    api: Api, sessions: Sessions, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    services = api.app.state.services
    services.watch.stop()  # it reads in transactions of its own
    seen: dict[str, int] = {}

    def watched(thing: object, name: str) -> None:
        real = getattr(thing, name)

        def call(*arguments: object) -> object:
            seen[name] = max(seen.get(name, 0), waiting_transactions(sessions))
            return real(*arguments)

        monkeypatch.setattr(thing, name, call)

    for thing, name in (
        (services.store, "open_local"), (services.store, "stored_objects"), (services.watch, "estimate_seconds")
    ):  # fmt: skip
        watched(thing, name)
    images = {"images": np.zeros((4, 8, 8, 3), np.uint8), "labels": np.arange(4)}
    declared = '{"name": "four", "classes": ["a", "b", "c", "d"], "parts": {"attack": 4, "select": 0, "report": 0}}'
    made = api.post("/image-sets", data={"metadata": declared}, files={"content": ("a.safetensors", save(images))})
    assert made.status_code == 201, made.text
    assert api.get("/image-sets/four/content").status_code == 200
    assert api.get("/doctor").status_code == 200
    assert api.post("/plan", json={"models": [METADATA]}).status_code == 200
    assert seen == {"open_local": 0, "stored_objects": 0, "estimate_seconds": 0}
