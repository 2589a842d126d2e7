"""`python -m registry migrate`: bring the database to this code's schema and make sure that the presets are there."""

import sys

from alembic import command

from registry.database import alembic_config, make_engine, make_sessions
from registry.protocols import ensure_presets
from registry.settings import DatabaseSettings

USAGE = "usage: python -m registry migrate"


def migrate(url: str) -> None:
    """Upgrade to the head revision (nothing is done when it is there already), then enter the preset protocols."""
    command.upgrade(alembic_config(url), "head")
    engine = make_engine(url)
    with make_sessions(engine).begin() as session:
        ensure_presets(session)
    engine.dispose()


def main() -> int:
    """Run the one command there is."""
    if sys.argv[1:] != ["migrate"]:
        print(USAGE, file=sys.stderr)  # noqa: T201  a command's own words
        return 2
    migrate(DatabaseSettings().database_url)
    return 0


if __name__ == "__main__":
    sys.exit(main())
