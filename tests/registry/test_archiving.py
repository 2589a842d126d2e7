"""Archived models keep what they have and get nothing new; a rung that is not wanted is not measured."""

import pytest
from sqlalchemy import func, select

from registry.archiving import archive_model, measure_to, unarchive_model
from registry.errors import ConflictError
from registry.jobs import LostLeaseError
from registry.pending import pending_attacks, pending_evaluations
from registry.results import record_attack
from registry.tables import (
    AttackRow,
    JobKind,
    JobRow,
    JobState,
    ModelRow,
    ModelState,
    NameRow,
    Part,
    TransferRow,
)
from tests.registry.conftest import Small, add_artifact
from tests.registry.stub_worker import attack_of, measure_all, start

WEEKS = 52
KEPT = 6


def cells_of(small: Small, network_id: int) -> int:
    """How many recorded cells the network is part of."""
    with small.sessions() as session:
        return session.scalars(
            select(func.count())
            .select_from(TransferRow)
            .where((TransferRow.source_id == network_id) | (TransferRow.target_id == network_id))
        ).one()


def test_an_archived_model_keeps_its_cells_and_meets_no_newcomer(small):
    old, other = start(small, "old"), start(small, "other")
    assert measure_all(small) == 4  # two directions on two rungs
    with small.sessions.begin() as session:
        assert archive_model(session, "old") == "old"
        images = dict(
            session.execute(select(AttackRow.rung, AttackRow.images).where(AttackRow.network_id == old)).all()
        )
    assert images[0] is not None
    assert images[1] is None
    new = start(small, "new")
    assert measure_all(small) == 4  # with `other` only
    assert cells_of(small, old) == 4
    assert cells_of(small, new) == 4
    assert cells_of(small, other) == 8


def test_unarchiving_measures_what_came_meanwhile(small):
    old = start(small, "old")
    measure_all(small)
    with small.sessions.begin() as session:
        archive_model(session, "old")
    start(small, "new")
    assert measure_all(small) == 0
    with small.sessions.begin() as session:
        unarchive_model(session, "old")
        evaluate = session.scalars(select(JobRow).where(JobRow.kind == JobKind.EVALUATE)).one()
        assert (evaluate.network_id, evaluate.state) == (old, JobState.QUEUED)
    assert measure_all(small) == 4


def test_archiving_fences_off_what_is_being_measured(small):
    network_id = start(small, "old")
    claimed = small.claim_of(JobKind.ATTACK, network_id)
    with small.sessions.begin() as session:
        archive_model(session, "old")
    with pytest.raises(LostLeaseError), small.sessions.begin() as session:
        record_attack(session, claimed, attack_of(session, 0))
    assert small.claim() is None


def test_a_network_that_another_model_names_goes_on(small):
    network_id = start(small, "old")
    with small.sessions.begin() as session:
        twin = session.scalars(select(ModelRow)).one()
        copy = ModelRow(
            task_id=twin.task_id, network_id=network_id, source=twin.source, declaration={},
            checkpoint=twin.checkpoint, content_sha256=twin.content_sha256, state=ModelState.READY,
        )  # fmt: skip
        session.add(copy)
        session.flush()
        session.add(NameRow(name="twin", model_id=copy.id, is_alias=False))
        session.flush()
        archive_model(session, "old")
    start(small, "new")
    assert measure_all(small) == 4


def test_only_a_prepared_model_can_be_archived(small):
    with small.sessions.begin() as session:
        model = ModelRow(
            task_id=small.task_id, source="upload", declaration={}, checkpoint=add_artifact(session, "x"),
            content_sha256=b"x", state=ModelState.RECEIVED,
        )  # fmt: skip
        session.add(model)
        session.flush()
        session.add(NameRow(name="waiting", model_id=model.id, is_alias=False))
    with pytest.raises(ConflictError, match="wait until it is prepared"), small.sessions.begin() as session:
        archive_model(session, "waiting")


def test_the_last_rung_limits_evaluation_attack_and_cells(small):
    shallow, deep = start(small, "shallow"), start(small, "deep")
    with small.sessions.begin() as session:
        measure_to(session, "shallow", 0)
    assert measure_all(small) == 2  # rung 0, both directions
    with small.sessions.begin() as session:
        rungs = session.execute(select(AttackRow.network_id, AttackRow.rung).order_by(AttackRow.rung)).all()
        assert sorted(rungs) == [(shallow, 0), (deep, 0), (deep, 1)]
        image_set = small.image_set(session)
        assert pending_evaluations(session, shallow, image_set) == []
        measure_to(session, "shallow", 1)
        assert pending_attacks(session, shallow, small.comparison_id, image_set) == [1]
    assert measure_all(small) == 2


def test_a_rung_that_is_not_wanted_is_not_evaluated(small):
    network_id = small.add_network("shallow", evaluated=False)
    with small.sessions.begin() as session:
        measure_to(session, "shallow", 0)
        image_set = small.image_set(session)
        assert pending_evaluations(session, network_id, image_set) == [(Part.ATTACK, 0)]
        archive_model(session, "shallow")
        assert pending_evaluations(session, network_id, image_set) == []


def test_a_year_of_weekly_retraining_costs_the_same_every_week(small):
    """Each week a model supersedes the oldest of six, which is archived: the cells a week must not grow."""
    names = [f"seed-{i}" for i in range(KEPT)]
    for name in names:
        start(small, name)
    measure_all(small)
    cells = []
    for week in range(WEEKS):
        name = f"week-{week}"
        start(small, name)
        cells.append(measure_all(small))
        with small.sessions.begin() as session:
            newest = session.scalars(select(ModelRow).order_by(ModelRow.id.desc()).limit(1)).one()
            oldest = names.pop(0)
            newest.supersedes = session.scalars(select(NameRow.model_id).where(NameRow.name == oldest)).one()
            archive_model(session, oldest)
        names.append(name)
    assert set(cells) == {2 * 2 * KEPT}  # two directions, two rungs, with each of the models that are kept
