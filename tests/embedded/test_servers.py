"""The servers by themselves: they answer, keep what was committed, and trust no stale file."""

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
import sqlalchemy
from redis import Redis

from embedded.errors import EmbeddedError
from embedded.postgres import Postgres
from embedded.processes import processes_in, running
from embedded.sockets import make_socket_folder, remove_socket_folder, renew_socket_folder
from embedded.valkey import Valkey


@pytest.fixture
def sockets() -> Iterator[Path]:
    """A socket folder for one test."""
    folder = make_socket_folder()
    yield folder
    shutil.rmtree(folder)


def test_a_database_url_works_with_sqlalchemy_and_is_empty(empty_database: str) -> None:
    engine = sqlalchemy.create_engine(empty_database)
    assert sqlalchemy.inspect(engine).get_table_names() == []
    with engine.connect() as connection:
        version = connection.exec_driver_sql("show server_version").scalar_one()
    engine.dispose()
    assert version.startswith("18.")


def test_libpq_variables_of_the_operator_change_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, sockets: Path
) -> None:
    for name, value in {"PGPORT": "1", "PGHOST": "elsewhere", "PGDATA": "/nowhere", "PGUSER": "nobody"}.items():
        monkeypatch.setenv(name, value)
    postgres = Postgres(tmp_path / "postgres", sockets)
    with running(postgres.service(), tmp_path / "log"), postgres.connect() as connection:
        assert connection.execute("select current_user").fetchone() == ("sat",)


def test_valkey_refuses_writes_rather_than_forget(redis_url: str) -> None:
    with Redis.from_url(redis_url.replace("redis+socket", "unix")) as connection:
        assert connection.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}


def test_a_killed_postgres_keeps_committed_rows_and_a_stale_lock_file_is_not_trusted(
    tmp_path: Path, sockets: Path
) -> None:
    postgres = Postgres(tmp_path / "postgres", sockets)
    with running(postgres.service(), tmp_path / "log") as process:
        with postgres.connect() as connection:
            connection.execute("create table kept as select 1 as one")
        process.kill()
        process.wait()
    # the lock file now names a process that lives and is not PostgreSQL: this test
    pid_file = postgres.data / "postmaster.pid"
    lines = pid_file.read_text().splitlines()
    pid_file.write_text("\n".join([str(os.getppid()), *lines[1:]]) + "\n")
    with running(postgres.service(), tmp_path / "log"), postgres.connect() as connection:
        assert connection.execute("select one from kept").fetchall() == [(1,)]
    assert processes_in(postgres.data) == []


def test_a_server_left_running_on_the_folder_is_ended_before_another_starts(tmp_path: Path, sockets: Path) -> None:
    postgres = Postgres(tmp_path / "postgres", sockets)
    with running(postgres.service(), tmp_path / "log") as orphan:
        with postgres.connect() as connection:
            connection.execute("create table kept as select 1 as one")
        with running(postgres.service(), tmp_path / "log") as successor:
            assert orphan.wait(10) is not None
            assert successor.poll() is None
            with postgres.connect() as connection:
                assert connection.execute("select one from kept").fetchall() == [(1,)]


def test_a_killed_valkey_keeps_acknowledged_writes(tmp_path: Path, sockets: Path) -> None:
    valkey = Valkey(tmp_path / "valkey", sockets)
    with running(valkey.service(), tmp_path / "log") as process:
        with Redis(unix_socket_path=str(valkey.socket)) as connection:
            connection.set("bell", "rung")
        process.send_signal(signal.SIGKILL)
        process.wait()
    with running(valkey.service(), tmp_path / "log"), Redis(unix_socket_path=str(valkey.socket)) as connection:
        assert connection.get("bell") == b"rung"


def test_an_interrupted_initdb_leaves_nothing_that_is_taken_for_a_cluster(tmp_path: Path, sockets: Path) -> None:
    half = tmp_path / "postgres.new"
    half.mkdir()
    (half / "PG_VERSION").write_text("18\n")
    postgres = Postgres(tmp_path / "postgres", sockets)
    with running(postgres.service(), tmp_path / "log"), postgres.connect() as connection:
        assert connection.execute("select 1").fetchone() == (1,)
    assert not half.exists()


def test_data_of_another_major_version_is_refused_with_advice(tmp_path: Path, sockets: Path) -> None:
    postgres = Postgres(tmp_path / "postgres", sockets)
    postgres.service()
    (postgres.data / "PG_VERSION").write_text("16\n")
    with pytest.raises(EmbeddedError, match="written by PostgreSQL 16, this is 18: load a dump"):
        postgres.service()


def test_a_server_that_cannot_start_shows_its_last_words(tmp_path: Path, sockets: Path) -> None:
    postgres = Postgres(tmp_path / "postgres", sockets)
    postgres.settings["shared_buffers"] = "many"
    with (
        pytest.raises(EmbeddedError, match='invalid value for parameter "shared_buffers"'),
        running(postgres.service(), tmp_path / "log"),
    ):
        pass


@pytest.mark.skipif(os.geteuid() != 0, reason="only root runs PostgreSQL as another user")
def test_where_namespaces_are_refused_root_moves_the_data_below_var_lib_and_says_so(
    tmp_path: Path, sockets: Path
) -> None:
    said: list[str] = []
    in_place = Postgres(tmp_path / "postgres", sockets)
    with running(in_place.service(), tmp_path / "log"), in_place.connect() as connection:
        connection.execute("create table kept as select 1 as one")
    moved = Postgres(tmp_path / "postgres", sockets, said.append, namespaces=False)
    try:
        with running(moved.service(), tmp_path / "log") as process, moved.connect() as connection:
            assert connection.execute("select one from kept").fetchall() == [(1,)]
            owner = subprocess.run(["ps", "-o", "user=", str(process.pid)], capture_output=True, text=True, check=True)
        assert owner.stdout.strip() == "nobody"
        assert "/var/lib/sat-registry" in said[0]
        # once moved it stays there, whether or not namespaces work again
        again = Postgres(tmp_path / "postgres", sockets, said.append)
        with running(again.service(), tmp_path / "log"), again.connect() as connection:
            assert connection.execute("select one from kept").fetchall() == [(1,)]
    finally:
        lies_in = moved.data.resolve()
        moved.discard()
    assert not lies_in.exists()
    assert not moved.data.is_symlink()


def test_a_socket_folder_is_private_and_short_and_a_stale_one_goes(tmp_path: Path) -> None:
    link = tmp_path / "sockets"
    first = renew_socket_folder(link)
    assert first.stat().st_mode & 0o777 == 0o700
    assert len(str(first)) < 80
    second = renew_socket_folder(link)
    assert not first.exists()
    remove_socket_folder(link)
    assert not second.exists()
    assert not link.is_symlink()


def test_a_link_to_somebody_elses_folder_is_removed_without_touching_it(tmp_path: Path) -> None:
    other = tmp_path / "sat-other"
    other.mkdir()
    link = tmp_path / "sockets"
    link.symlink_to(other)
    remove_socket_folder(link)
    assert other.exists()
    assert not link.is_symlink()


def test_a_connection_to_a_stopped_server_is_an_operational_error(tmp_path: Path, sockets: Path) -> None:
    with pytest.raises(psycopg.OperationalError):
        Postgres(tmp_path / "postgres", sockets).connect()
