"""Presets are entered at each start, whatever an operator has stored before."""

import pytest
from sqlalchemy import delete, select

from registry.declarations import ProtocolDeclaration
from registry.errors import ConflictError
from registry.protocols import create_protocol, ensure_presets
from registry.tables import ProtocolRow
from sat_engine.protocol import PRESETS

PGD = {"epsilon": "8/255", "step_size": "2/255", "steps": 50}


def stored(session) -> dict[str, bytes]:
    return {row.name: row.digest for row in session.scalars(select(ProtocolRow))}


def add(session, name: str, **parameters: object) -> None:
    create_protocol(session, ProtocolDeclaration.model_validate({"name": name, **parameters}))


@pytest.fixture
def session(sessions):
    """A session on a registry without protocols."""
    with sessions() as session:
        session.execute(delete(ProtocolRow))
        yield session
        session.rollback()


def test_presets_are_entered_once(session):
    ensure_presets(session)
    assert stored(session) == {name: preset.digest() for name, preset in PRESETS.items()}
    ensure_presets(session)
    assert len(stored(session)) == len(PRESETS)


def test_a_preset_that_an_operator_stored_under_another_name_keeps_it(session):
    add(session, "ours", **PGD)
    ensure_presets(session)
    assert stored(session)["ours"] == PRESETS["pgd"].digest()
    assert "pgd" not in stored(session)
    assert len(stored(session)) == len(PRESETS)


def test_a_preset_whose_names_mean_other_parameters_takes_the_next_free_one(session):
    revision = PRESETS["pgd"].engine_revision
    for number, name in enumerate(("pgd", f"pgd-r{revision}", f"pgd-r{revision}-1")):
        add(session, name, **PGD | {"steps": 1 + number})
    ensure_presets(session)
    ensure_presets(session)
    assert stored(session)[f"pgd-r{revision}-2"] == PRESETS["pgd"].digest()
    assert len(stored(session)) == len(PRESETS) + 3
    with pytest.raises(ConflictError, match="already protocol"):
        add(session, "pgd-again", **PGD)
