"""The check of the migrations finds what it is for."""

from collections.abc import Iterator

import pytest
import sqlalchemy

from embedded.check_migrations import check
from registry.tables import Base


@pytest.fixture
def mapped_database(servers) -> Iterator[str]:
    """A second empty database, for the tables as they are mapped."""
    with servers.clone("template0") as url:
        yield url


def test_a_mapped_table_without_a_migration_is_found(empty_database: str, mapped_database: str) -> None:
    table = sqlalchemy.Table("unmigrated", Base.metadata, sqlalchemy.Column("id", sqlalchemy.Integer))
    try:
        problem = check(empty_database, mapped_database)
    finally:
        Base.metadata.remove(table)
    assert problem is not None
    assert "The migrations do not make the mapped tables; add one." in problem
    assert "unmigrated" in problem


def test_a_rule_without_a_migration_is_found(empty_database: str, mapped_database: str) -> None:
    rule = sqlalchemy.CheckConstraint("n > 1", name="more")
    table = Base.metadata.tables["evaluations"]
    table.append_constraint(rule)
    try:
        problem = check(empty_database, mapped_database)
    finally:
        table.constraints.discard(rule)
    assert problem is not None
    assert "evaluations ck_evaluations_more CHECK n > 1" in problem


def test_what_a_downgrade_leaves_behind_is_found(empty_database: str, mapped_database: str) -> None:
    engine = sqlalchemy.create_engine(empty_database)
    with engine.begin() as connection:
        connection.exec_driver_sql("create type forgotten as enum ('a')")
    engine.dispose()
    assert check(empty_database, mapped_database) == "A downgrade to the beginning leaves forgotten behind."


def test_the_migrations_go_up_down_and_up(empty_database: str, mapped_database: str) -> None:
    assert check(empty_database, mapped_database) is None
