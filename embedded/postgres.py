"""A real PostgreSQL 18 on one data folder, reached through a unix socket."""

import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import psycopg
from psycopg import sql

from embedded.errors import EmbeddedError
from embedded.processes import Service, end_leftovers, finish
from embedded.tenancy import Tenancy, move_out, publish, settle, staging_folder

DATABASE = "sat"
USER = "sat"
_MAJOR = "18"
PORT = "5432"  # names the socket file only: nothing listens on TCP

# For one machine shared with the workers, of 4 GB or more.
_SETTINGS = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "port": PORT,
    "max_connections": "100",
    "shared_buffers": "128MB",
    "effective_cache_size": "1GB",
    "work_mem": "16MB",
    "maintenance_work_mem": "64MB",
    "max_wal_size": "512MB",
    "random_page_cost": "1.1",  # solid-state disks
    "jit": "off",  # many short queries, few long ones
    "max_parallel_workers_per_gather": "0",  # the cores are the workers'
    "io_method": "sync",  # no idle I/O processes
    "huge_pages": "off",
    "log_timezone": "UTC",
    "timezone": "UTC",
    "logging_collector": "off",  # standard error goes to our log
}
# Speed for tests: a crash of the machine may lose everything, a crash of the server nothing.
# synchronous_commit stays on: without it a kill of the server loses the commits of its last moments.
_VOLATILE = {"fsync": "off", "full_page_writes": "off"}


class Postgres:
    """A PostgreSQL cluster in `data`, with its socket in `sockets`.

    Args:
        data: the cluster's folder; made on first use.
        sockets: an existing private folder with a short path.
        say: told what an operator should know.
        durable: False: commits do not wait for the disk (tests).
        namespaces: False: do not try user namespaces (embedded/tenancy.py).
    """

    def __init__(
        self,
        data: Path,
        sockets: Path,
        say: Callable[[str], None] = print,
        *,
        durable: bool = True,
        namespaces: bool = True,
    ) -> None:
        self.data = data
        self.sockets = sockets
        self.say = say
        self.settings = _SETTINGS | {"unix_socket_directories": str(sockets)} | ({} if durable else _VOLATILE)
        self.durable = durable
        self.namespaces = namespaces

    def url(self, database: str = DATABASE) -> str:
        """Return the SQLAlchemy address of a database."""
        return f"postgresql+psycopg://{USER}@/{database}?host={self.sockets}&port={PORT}"

    def connect(self, database: str = "postgres") -> psycopg.Connection:
        """Return an autocommit connection; psycopg.OperationalError when the server does not take one."""
        return psycopg.connect(
            host=str(self.sockets), port=PORT, user=USER, dbname=database, autocommit=True, connect_timeout=5
        )

    def service(self) -> Service:
        """Make the cluster if there is none, and return the server as a service to be kept running."""
        tenancy = settle(self.data, self.say, namespaces=self.namespaces)
        self._make_cluster(tenancy)
        self._check_version()
        if tenancy.owner is not None:
            os.chown(self.sockets, *tenancy.owner)
        options = [part for name, value in self.settings.items() for part in ("-c", f"{name}={value}")]
        return Service(
            name="postgres",
            is_server=True,
            command=(str(tenancy.programs / "postgres"), "-D", str(self.data.resolve()), *options),
            prepare=self._clear_leftovers,
            ready=self._answers,
            ready_seconds=600,  # recovery after a crash may read much
            stop_signal=signal.SIGINT,  # "fast": ends sessions, writes a checkpoint
            stop_seconds=60,
            death_signal=signal.SIGQUIT,  # "immediate": its own children end too; recovery follows at the next start
            identity=tenancy.identity,
        )

    def create_database(self, name: str = DATABASE) -> None:
        """Create an empty database; one of that name stays as it is."""
        with self.connect() as connection:
            if connection.execute("select 1 from pg_database where datname = %s", [name]).fetchone() is None:
                connection.execute(sql.SQL("create database {}").format(sql.Identifier(name)))

    def drop_database(self, name: str) -> None:
        """Drop a database, ending the sessions in it."""
        with self.connect() as connection:
            connection.execute(sql.SQL("drop database if exists {} with (force)").format(sql.Identifier(name)))

    def discard(self) -> None:
        """Delete the cluster, wherever it lies; the server must have stopped."""
        shutil.rmtree(self.data.resolve())
        self.data.unlink(missing_ok=True)

    def _make_cluster(self, tenancy: Tenancy) -> None:
        move_out(tenancy, self.data)
        if self.data.exists():
            return
        if self.data.is_symlink():
            raise EmbeddedError(
                f"{self.data} names {self.data.readlink()}, which is gone:"
                " bring it back, or remove the link to begin anew."
            )
        staging = staging_folder(tenancy, self.data)
        initdb = (
            *(str(tenancy.programs / "initdb"), "-D", str(staging), f"--username={USER}", "--auth=trust"),
            *("--encoding=UTF8", "--locale=C", "--set=log_timezone=UTC", "--set=timezone=UTC"),
            *(() if self.durable else ("--no-sync",)),
        )
        status, output = finish(initdb, identity=tenancy.identity)
        if status != 0:
            raise EmbeddedError(f"PostgreSQL could not make its data folder {self.data}:\n{output}")
        publish(tenancy, staging, self.data)

    def _check_version(self) -> None:
        found = (self.data / "PG_VERSION").read_text().strip()
        if found != _MAJOR:
            raise EmbeddedError(
                f"{self.data} was written by PostgreSQL {found}, this is {_MAJOR}:"
                " load a dump of it into a new SAT_HOME, or use the version that wrote it."
            )

    def _clear_leftovers(self) -> None:
        """End what a killed supervisor left, and remove the lock file, which may name anybody's process id."""
        end_leftovers(self.data, signal.SIGQUIT)
        (self.data / "postmaster.pid").unlink(missing_ok=True)

    def _answers(self) -> bool:
        try:
            with self.connect() as connection:
                connection.execute("select 1")
        except psycopg.OperationalError:
            return False
        return True
