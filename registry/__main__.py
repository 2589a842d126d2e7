"""`python -m registry`: what an operator runs beside the database: the migration, the first API key, measuring anew."""

import argparse
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

from alembic import command
from sqlalchemy.orm import Session

from registry.database import alembic_config, make_engine, make_sessions
from registry.errors import RegistryError
from registry.keys import OPERATOR, create_key, ensure_admin_key
from registry.protocols import ensure_presets
from registry.reevaluation import re_evaluate
from registry.settings import DatabaseSettings, MigrationSettings
from registry.tables import Scope


def migrate(url: str, admin_key: str | None = None) -> None:
    """Upgrade to the head revision (nothing is done when it is there), then enter preset protocols and first key."""
    command.upgrade(alembic_config(url), "head")
    with _session(url) as session:
        ensure_presets(session)
        if admin_key is not None:
            ensure_admin_key(session, admin_key)


def make_key(url: str, *, name: str, scope: Scope, team: str | None, days: int | None) -> str:
    """Enter a key and return it."""
    expires_at = None if days is None else datetime.now(UTC) + timedelta(days=days)
    with _session(url) as session:
        _, secret = create_key(session, name=name, scope=scope, team=team, expires_at=expires_at, actor=OPERATOR)
    return secret


def main(arguments: list[str] | None = None) -> int:
    """Run the command; 1 and a sentence for what is refused."""
    asked = _parser().parse_args(arguments)
    try:
        if asked.noun == "migrate":
            settings = MigrationSettings()
            migrate(settings.database_url, settings.first_key())
        elif asked.noun == "re-evaluate":
            with _session(DatabaseSettings().database_url) as session:
                names = re_evaluate(session, asked.model, actor=OPERATOR)
            print(f"{', '.join(names)}: forgotten; workers begin anew within seconds.")  # noqa: T201
        else:
            secret = make_key(
                DatabaseSettings().database_url, name=asked.name, scope=asked.scope, team=asked.team, days=asked.days
            )
            print(f"{asked.name} ({asked.scope}); it is shown this once:", file=sys.stderr)  # noqa: T201
            print(secret)  # noqa: T201  a command's own words
    except RegistryError as error:
        print(error.detail, file=sys.stderr)  # noqa: T201
        return 1
    return 0


@contextmanager
def _session(url: str) -> Iterator[Session]:
    """A committed transaction on a connection of its own."""
    engine = make_engine(url)
    try:
        with make_sessions(engine).begin() as session:
            yield session
    finally:
        engine.dispose()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m registry")
    nouns = parser.add_subparsers(dest="noun", required=True)
    nouns.add_parser("migrate", help="bring the database to this code's schema; enter presets and SAT_ADMIN_KEY")
    anew = nouns.add_parser("re-evaluate", help="forget a model's results and measure them anew, on whatever worker")
    anew.add_argument("model", help="a name, an alias, or @digest; models of the same network go with it")
    keys = nouns.add_parser("keys", help="API keys, where no api can be asked yet; `sat keys` does more")
    create = keys.add_subparsers(dest="verb", required=True).add_parser("create", help="make a key and print it")
    create.add_argument("--name", default="admin", help="what the audit log calls it (default: admin)")
    create.add_argument("--scope", type=Scope, choices=list(Scope), required=True)
    create.add_argument("--team", help="owns what is registered with it (default: the key's name)")
    create.add_argument("--days", type=_days, help="it expires after so many (default: never)")
    return parser


def _days(text: str) -> int:
    days = int(text)
    if not 1 <= days <= 36500:  # noqa: PLR2004  a century
        raise ValueError(text)
    return days


if __name__ == "__main__":
    sys.exit(main())
