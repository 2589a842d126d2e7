"""Alembic's entry: runs the migrations on the database that DATABASE_URL, or the caller's configuration, names."""

from alembic import context
from sqlalchemy import create_engine

from registry.locks import AdvisoryLock
from registry.settings import DatabaseSettings
from registry.tables import Base


def run() -> None:
    """Run in one transaction, under an advisory lock."""
    url = context.config.attributes.get("url") or DatabaseSettings().database_url
    engine = create_engine(url)
    with engine.connect() as connection:
        context.configure(connection=connection, target_metadata=Base.metadata, compare_type=True)
        with context.begin_transaction():
            # two processes that start at once must not migrate at once
            connection.exec_driver_sql(f"select pg_advisory_xact_lock({AdvisoryLock.MIGRATION:d})")
            context.run_migrations()
    engine.dispose()


run()
