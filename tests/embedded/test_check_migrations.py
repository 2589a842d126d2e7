"""The check of the migrations finds what it is for."""

import sqlalchemy

from embedded.check_migrations import check
from registry.tables import Base


def test_a_mapped_table_without_a_migration_is_found(empty_database: str) -> None:
    table = sqlalchemy.Table("unmigrated", Base.metadata, sqlalchemy.Column("id", sqlalchemy.Integer))
    try:
        problem = check(empty_database)
    finally:
        Base.metadata.remove(table)
    assert problem is not None
    assert "The migrations do not make the mapped tables; add one." in problem
    assert "unmigrated" in problem


def test_what_a_downgrade_leaves_behind_is_found(empty_database: str) -> None:
    engine = sqlalchemy.create_engine(empty_database)
    with engine.begin() as connection:
        connection.exec_driver_sql("create type forgotten as enum ('a')")
    engine.dispose()
    assert check(empty_database) == "A downgrade to the beginning leaves forgotten behind."


def test_the_migrations_go_up_down_and_up(empty_database: str) -> None:
    assert check(empty_database) is None
