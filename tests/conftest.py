"""Real servers for every test: one PostgreSQL and one Valkey for the whole session."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import pytest
from redis import Redis

from embedded.postgres import Postgres
from embedded.processes import running
from embedded.sockets import make_socket_folder
from embedded.valkey import Valkey
from registry.__main__ import migrate
from registry.database import Sessions, make_engine, make_sessions

pytest_plugins = ["tests.hub"]


@dataclass(frozen=True)
class Servers:
    """The session's servers; neither waits for the disk."""

    postgres: Postgres
    valkey: Valkey

    @contextmanager
    def clone(self, template: str) -> Iterator[str]:
        """The SQLAlchemy address of a new copy of a database, dropped afterwards."""
        name = f"test_{uuid4().hex}"
        with self.postgres.connect() as connection:
            connection.execute(f'create database "{name}" template "{template}"')
        try:
            yield self.postgres.url(name)
        finally:
            self.postgres.drop_database(name)


@pytest.fixture(scope="session")
def servers() -> Iterator[Servers]:
    """One PostgreSQL and one Valkey that run until the session ends."""
    with tempfile.TemporaryDirectory(prefix="sat-tests-") as name:
        home, sockets = Path(name), make_socket_folder()
        postgres = Postgres(home / "postgres", sockets, durable=False)
        valkey = Valkey(home / "valkey", sockets, durable=False)
        with running(postgres.service(), home / "postgres.log"), running(valkey.service(), home / "valkey.log"):
            yield Servers(postgres, valkey)
        postgres.discard()
        shutil.rmtree(sockets)


@pytest.fixture(scope="session")
def postgres_url(servers: Servers) -> str:
    """The SQLAlchemy address of the administrator's database."""
    return servers.postgres.url("postgres")


@pytest.fixture(scope="session")
def redis_url(servers: Servers) -> str:
    """The address of the session's Valkey, in kombu's form (redis+socket://…)."""
    return servers.valkey.url


@pytest.fixture
def empty_redis(servers: Servers) -> str:
    """The same address, emptied for this test."""
    with Redis(unix_socket_path=str(servers.valkey.socket)) as connection:
        connection.flushall()
    return servers.valkey.url


@pytest.fixture
def empty_database(servers: Servers) -> Iterator[str]:
    """The SQLAlchemy address of a new, empty database, dropped after the test."""
    with servers.clone("template0") as url:
        yield url


@pytest.fixture(scope="session")
def template(servers: Servers) -> Iterator[str]:
    """The name of a migrated database that others are cloned from."""
    name = f"template_{uuid4().hex}"
    servers.postgres.create_database(name)
    migrate(servers.postgres.url(name))
    yield name
    servers.postgres.drop_database(name)


@pytest.fixture
def database_url(servers: Servers, template: str) -> Iterator[str]:
    """The SQLAlchemy address of a new, migrated database, dropped after the test."""
    with servers.clone(template) as url:
        yield url


@pytest.fixture
def sessions(database_url: str) -> Iterator[Sessions]:
    """Sessions on a new, migrated database."""
    engine = make_engine(database_url)
    yield make_sessions(engine)
    engine.dispose()
