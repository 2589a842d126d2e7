"""Which artifacts something refers to, read off the foreign keys, so that a new table cannot be forgotten."""

from collections.abc import Collection
from typing import Any

from sqlalchemy import Column, ColumnElement, exists, or_

from registry.tables import ArtifactRow, AttackRow, Base, EvaluationRow, ModelRow, NetworkRow

_SHA256 = ArtifactRow.__table__.c.sha256


def referring_columns() -> list[Column[Any]]:
    """Every column that refers to an artifact."""
    return [
        column
        for table in Base.metadata.sorted_tables
        for column in table.columns
        if any(key.column is _SHA256 for key in column.foreign_keys)
    ]


def is_referenced(models: Collection[int] = (), networks: Collection[int] = ()) -> ColumnElement[bool]:
    """SQL: some row refers to this artifact, not counting those of models and networks that are about to go."""
    leaving = {
        ModelRow.__tablename__: (ModelRow.id, models),
        NetworkRow.__tablename__: (NetworkRow.id, networks),
        EvaluationRow.__tablename__: (EvaluationRow.network_id, networks),
        AttackRow.__tablename__: (AttackRow.network_id, networks),
    }
    found = []
    for column in referring_columns():
        refers = exists().where(column == ArtifactRow.sha256).correlate(ArtifactRow)
        owner, gone = leaving.get(column.table.name, (None, ()))
        found.append(refers.where(owner.not_in(gone)) if owner is not None and gone else refers)
    return or_(*found)
