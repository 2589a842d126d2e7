"""`python -m embedded.check_migrations`: run the migrations up, down and up again on a real, empty database.

Ends with status 1 and a sentence when the mapped tables differ from the migrated ones, or when a downgrade
leaves something behind.
"""

import re
import sys
import tempfile
from pathlib import Path

import sqlalchemy
from alembic import command
from alembic.util import CommandError

from embedded.postgres import Postgres
from embedded.processes import running
from embedded.sockets import remove_socket_folder, renew_socket_folder
from registry.database import alembic_config
from registry.tables import Base


def check(url: str, mapped_url: str) -> str | None:
    """Return what is wrong with the migrations, as a sentence, or None; both urls name empty databases."""
    config = alembic_config(url)
    command.upgrade(config, "head")
    try:
        command.check(config)
    except CommandError as error:
        return f"The migrations do not make the mapped tables; add one. {error}"
    if differences := _rules(url) ^ _rules(mapped_url, create=True):
        # Alembic does not look at check constraints
        return f"The migrations make other rules than the mapped tables: {'; '.join(sorted(differences))}."
    command.downgrade(config, "base")
    if left := _leftovers(url):
        return f"A downgrade to the beginning leaves {', '.join(left)} behind."
    command.upgrade(config, "head")
    return None


def _leftovers(url: str) -> list[str]:
    """Return the tables, sequences and types in the public schema, Alembic's own aside."""
    engine = sqlalchemy.create_engine(url)
    with engine.connect() as connection:
        names = connection.exec_driver_sql(
            "select relname from pg_class where relnamespace = 'public'::regnamespace"
            " and relname not like 'alembic_version%%'"
            " union select typname from pg_type where typnamespace = 'public'::regnamespace"
            " and typrelid = 0 and typelem = 0"
        ).scalars()
        left = sorted(names)
    engine.dispose()
    return left


def _rules(url: str, *, create: bool = False) -> set[str]:
    """Return the constraints of all tables as SQL; `create` makes the mapped tables first."""
    engine = sqlalchemy.create_engine(url)
    if create:
        Base.metadata.create_all(engine)
    with engine.connect() as connection:
        rules = connection.exec_driver_sql(
            "select concat_ws(' ', conrelid::regclass, conname, pg_get_constraintdef(oid)) from pg_constraint"
            " where connamespace = 'public'::regnamespace and contype <> 'n'"
            " and conrelid::regclass::text <> 'alembic_version'"
        ).scalars()
        # the same set of words is stored with other casts, depending on how the table was made
        found = {re.sub(r"::(text|character varying)(\[\]|\(\d+\))?|[()]", "", rule) for rule in rules}
    engine.dispose()
    return found


def main() -> int:
    """Check on a database of our own in a temporary folder."""
    with tempfile.TemporaryDirectory(prefix="sat-migrations-") as name:
        home = Path(name)
        link = home / "sockets"
        sockets = renew_socket_folder(link)
        postgres = Postgres(home / "postgres", sockets, _say, durable=False)
        with running(postgres.service(), home / "postgres.log"):
            postgres.create_database()
            postgres.create_database("mapped")
            problem = check(postgres.url(), postgres.url("mapped"))
        postgres.discard()
        remove_socket_folder(link)
    _say(problem or "Migrations: up, as mapped, down, up.")
    return 1 if problem else 0


def _say(sentence: str) -> None:
    sys.stdout.write(f"{sentence}\n")


if __name__ == "__main__":
    sys.exit(main())
