"""The engine, the sessions, and the one function that commits."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, create_engine
from sqlalchemy.exc import InterfaceError, InternalError, OperationalError
from sqlalchemy.orm import Session, sessionmaker

from registry.tables import Lane

MIGRATIONS = Path(__file__).resolve().parent.parent / "migrations"
# A recording transaction takes milliseconds; one that waits longer meets a lock nobody will release soon.
LOCK_TIMEOUT_MS = 30_000
# libpq's, for TCP alone: without them, a thread waits for a host that vanished for as long as the kernel does, up to
# hours. The first three are for an answer that does not come, the last for what was sent and is not acknowledged.
VANISHED_HOST = {"keepalives_idle": 10, "keepalives_interval": 5, "keepalives_count": 3, "tcp_user_timeout": 30_000}

# The connection broke, the server ended it, or it refuses for reasons of its own. A transaction that waited too long
# for its process ends with an InternalError.
DATABASE_FAULTS = (OperationalError, InterfaceError, InternalError)

Sessions = sessionmaker[Session]


def make_engine(
    url: str,
    *,
    pool_size: int = 5,
    application: str = "sat",
    idle_seconds: float | None = None,
    statement_seconds: float | None = None,
) -> Engine:
    """An engine whose connections are checked before use, so a restarted PostgreSQL is no error.

    With idle_seconds the server ends a transaction that waits for its client for longer: a process that is frozen, or
    whose host is gone, must not hold its locks until somebody notices. With statement_seconds it ends a statement that
    runs for longer. A server whose host is gone is noticed within half a minute, whatever the limits.
    """
    options = [f"lock_timeout={LOCK_TIMEOUT_MS}", "timezone=UTC"]
    if idle_seconds is not None:
        options.append(f"idle_in_transaction_session_timeout={round(1000 * idle_seconds)}")
    if statement_seconds is not None:
        options.append(f"statement_timeout={round(1000 * statement_seconds)}")
    return create_engine(
        url,
        pool_size=pool_size,
        max_overflow=pool_size,
        pool_pre_ping=True,
        connect_args={
            "application_name": application,
            "connect_timeout": 10,
            "options": " ".join(f"-c {option}" for option in options),
            **VANISHED_HOST,
        },
    )


def make_sessions(engine: Engine) -> Sessions:
    """A session factory; objects stay readable after the commit."""
    return sessionmaker(engine, expire_on_commit=False)


@contextmanager
def transaction(sessions: Sessions, ring: Callable[[Lane], None]) -> Iterator[Session]:
    """Commit on success, then ring for the lanes that got work; roll back on any error.

    A crash between the two loses nothing: the reconciler rings again for queued jobs. `ring` never raises: with the
    broker down the commit still stands.
    """
    with sessions() as session:
        with session.begin():
            yield session
        for lane in sorted(session.info.pop("announce", ())):
            ring(lane)


def announce(session: Session, lane: Lane) -> None:
    """Have `transaction` ring for the lane once this session has committed."""
    session.info.setdefault("announce", set()).add(lane)


def alembic_config(url: str) -> Config:
    """Alembic's configuration for this code's migrations on that database."""
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.attributes["url"] = url
    return config


def migration_head() -> str:
    """The revision that this code was written for."""
    head = ScriptDirectory(str(MIGRATIONS)).get_current_head()
    assert head is not None
    return head


def database_revision(session: Session) -> str | None:
    """The revision that the database is at; None when it was never migrated."""
    return MigrationContext.configure(session.connection()).get_current_revision()


def foreign_revision(session: Session) -> str | None:
    """What to do where the database is not at the migration that this code was written for; None where it is."""
    present, expected = database_revision(session), migration_head()
    if present == expected:
        return None
    if present is None:
        return f"the database has no tables: run `python -m registry migrate` (this code knows migration {expected})."
    known = {script.revision for script in ScriptDirectory(str(MIGRATIONS)).walk_revisions()}
    if present in known:
        return f"the database is at migration {present}, this code at {expected}: run `python -m registry migrate`."
    return (
        f"the database is at migration {present}, which is newer than this code ({expected}): start the release that "
        "migrated it, or a later one."
    )
