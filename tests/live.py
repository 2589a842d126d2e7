"""A real api process on a filled registry, for tests that attack it from outside; no pytest fixture is needed."""

import os
import re
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import httpx
import numpy as np

from embedded.postgres import Postgres
from embedded.processes import running
from embedded.sockets import make_socket_folder
from embedded.valkey import Valkey
from registry.__main__ import migrate
from registry.comparisons import create_comparison
from registry.database import Sessions, make_engine, make_sessions
from registry.declarations import ComparisonDeclaration
from registry.tables import ComparisonState
from tests.api.world import World

MODELS = ("resnet-a", "resnet-b", "vit-a", "vit-b", "mixer-a", "mixer-b")


@dataclass(frozen=True, kw_only=True)
class Live:
    """The api's address, a key that may do everything, its process, and the registry behind it."""

    url: str
    key: str
    process: "subprocess.Popen[bytes]"
    sessions: Sessions
    environment: dict[str, str]
    folder: Path

    @property
    def headers(self) -> dict[str, str]:
        """What lets a request pass."""
        return {"Authorization": f"Bearer {self.key}"}

    def memory_mebibytes(self, field: str = "VmHWM") -> float:
        """The api's largest resident memory so far (VmRSS: now)."""
        status = Path(f"/proc/{self.process.pid}/status").read_text(encoding="ascii")
        (kilobytes,) = re.findall(rf"{field}:\s+(\d+) kB", status)
        return int(kilobytes) / 1024


@contextmanager
def live_api(**changes: str) -> Iterator[Live]:
    """An api that asks for keys, on a database of its own that holds six measured models; gone at the end."""
    with tempfile.TemporaryDirectory(prefix="sat-live-") as name:
        folder, sockets = Path(name), make_socket_folder()
        postgres = Postgres(folder / "postgres", sockets, durable=False)
        valkey = Valkey(folder / "valkey", sockets, durable=False)
        try:
            with running(postgres.service(), folder / "postgres.log"), running(valkey.service(), folder / "valkey.log"):
                postgres.create_database("live")
                key = f"sat_{secrets.token_urlsafe(32)}"
                migrate(postgres.url("live"), key)
                environment = _environment_of(folder, postgres.url("live"), valkey.url) | changes
                engine = make_engine(postgres.url("live"))
                sessions = make_sessions(engine)
                fill(sessions, folder / "artifacts")
                with _process(environment, folder / "api.log") as (url, process):
                    yield Live(
                        url=url, key=key, process=process, sessions=sessions, environment=environment, folder=folder
                    )
                engine.dispose()
            postgres.discard()
        finally:
            shutil.rmtree(sockets)


def fill(sessions: Sessions, artifacts: Path) -> None:
    """Six measured models of three families, one with an alias; every artifact that an answer may need is there."""
    world = World(sessions, np.random.default_rng(0))
    world.add_comparison()
    for model in MODELS:
        world.add_model(model, aliases=("champion",) if model == "vit-a" else (), tags=("small",))
    world.measure()
    with sessions.begin() as session:
        wanted = {"image_set": "digits", "protocol": "pgd-paper", "state": ComparisonState.PAUSED}
        create_comparison(session, ComparisonDeclaration.model_validate(wanted))
    for content in (*MODELS, "digits", "logits"):
        digest = sha256(content.encode()).hexdigest()
        path = artifacts / digest[:2] / digest
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)


def _environment_of(folder: Path, database_url: str, redis_url: str) -> dict[str, str]:
    return {
        **os.environ,
        "DATABASE_URL": database_url,
        "REDIS_URL": redis_url,
        "SAT_ARTIFACTS": str(folder / "artifacts"),
        "SAT_CACHE": str(folder / "cache"),
        "SAT_KEYS": "required",
        "SAT_WRITES_PER_MINUTE": "0",
        "SAT_MIN_FREE_BYTES": "0",
        "SAT_WEBHOOK_HOSTS": "hooks.example.com",
        "SAT_MAX_UPLOAD_BYTES": str(64 * 2**20),
    }


@contextmanager
def _process(environment: dict[str, str], log: Path) -> Iterator[tuple[str, "subprocess.Popen[bytes]"]]:
    with socket.create_server(("127.0.0.1", 0), backlog=128) as listener, log.open("wb") as output:
        url, fd = f"http://127.0.0.1:{listener.getsockname()[1]}", listener.fileno()
        process = subprocess.Popen(
            [sys.executable, "-m", "api"],
            env=environment | {"SAT_FD": str(fd)},
            pass_fds=[fd],
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        # the socket listens already: the first request waits for the process
        try:
            httpx.get(f"{url}/healthz", timeout=120, trust_env=False).raise_for_status()
        except httpx.HTTPError as error:
            raise RuntimeError(f"the api did not start:\n{log.read_text()[-2000:]}") from error
        yield url, process
    finally:
        process.kill()
        process.wait()
