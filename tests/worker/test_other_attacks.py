"""Comparisons by attacks beside PGD, on convolutions and transformers together: some pairs cannot be measured."""

from dataclasses import replace

import pytest
from sqlalchemy import func, select

from examples.digits.fit import fit
from examples.digits.zoo import Member, Recipe
from registry.access import LOCAL
from registry.comparisons import create_comparison
from registry.database import transaction
from registry.declarations import ComparisonDeclaration, ProtocolDeclaration
from registry.models import retry_model
from registry.protocols import create_protocol
from registry.reads.models import describe
from registry.reads.progress import Stage, count_progress, read_comparison_progress, read_progress
from registry.reads.scores import NO_TRANSFER, neighbours
from registry.reads.similar import Order, read_similar
from registry.reads.snapshot import Snapshot, read_view
from registry.tables import AttackRow, ComparisonRow, JobKind, JobRow, JobState, PairRow, ProtocolRow

VIT = Member(
    name="vit",
    architecture="test_vit",
    options={"img_size": 32, "patch_size": 8, "global_pool": "avg"},
    recipe=Recipe(epochs=8, batch=32, learning_rate=3e-3),
)
PROTOCOLS = (
    {"name": "momentum", "attack": "mi-fgsm", "epsilon": "16/255", "steps": 3},
    {"name": "patch", "attack": "patch-fool", "epsilon": "1", "steps": 2},
)


@pytest.fixture
def transformers(workshop, tmp_path) -> tuple[Member, ...]:
    """Two vision transformers, trained for seconds."""
    members = (VIT, replace(VIT, name="vit-again", seed=1))
    for member in members:
        workshop.checkpoints[member.name] = tmp_path / f"{member.name}.safetensors"
        fit(member, workshop.checkpoints[member.name])
    return members


def add_comparisons(workshop) -> None:
    """The protocols, and a comparison that measures by each."""
    with workshop.sessions.begin() as session:
        for protocol in PROTOCOLS:
            create_protocol(session, ProtocolDeclaration.model_validate(protocol))
            declared = {"image_set": "digits", "protocol": protocol["name"], "state": "measuring"}
            create_comparison(session, ComparisonDeclaration.model_validate(declared))


def snapshot_of(session, protocol: str) -> Snapshot:
    """The comparison of that protocol as readers see it; the session has asked nothing before."""
    connection = session.connection(execution_options={"isolation_level": "REPEATABLE READ"})
    wanted = session.scalars(select(ComparisonRow.id).join(ProtocolRow).where(ProtocolRow.name == protocol)).one()
    return read_view(connection, frozenset({wanted}), None).snapshots[wanted]


def test_every_pair_that_an_attack_allows_is_measured_and_the_rest_is_refused(workshop, members, transformers):
    for member in (*members[:2], *transformers):
        workshop.register(member)
    add_comparisons(workshop)
    workshop.start_worker("light")
    workshop.start_worker("compute")
    workshop.wait(lambda: workshop.idle() and len(workshop.measured()["pairs"]) == 6 + 6 + 5)
    with workshop.sessions() as session:
        check_all_measured(snapshot_of(session, "momentum"))
        assert session.scalars(select(JobRow.failure).where(JobRow.state == JobState.FAILED)).all() == []
    with workshop.sessions() as session:
        check_patches(session, snapshot_of(session, "patch"))
    # tried again, it is refused again, and measures nothing twice
    before = workshop.measured()
    with transaction(workshop.sessions, lambda _: None) as session:
        retry_model(session, "resnet", actor=LOCAL)
        attack = select(JobRow.state).where(JobRow.kind == JobKind.ATTACK, JobRow.state == JobState.QUEUED)
        assert session.scalars(attack).all() == [JobState.QUEUED]
    workshop.wait(workshop.idle)
    assert workshop.measured() == before
    with workshop.sessions() as session:
        assert len(snapshot_of(session, "patch").unattackable) == 2


def check_all_measured(snapshot: Snapshot) -> None:
    """Six pairs of four networks in both directions."""
    assert not snapshot.unattackable
    assert (snapshot.cells.both >= 0).all()
    assert {read_progress(snapshot, model).stage for model in snapshot.members} == {Stage.MEASURED}


def check_patches(session, snapshot: Snapshot) -> None:
    """One pair in both directions, four in one, and one that is refused: nothing is missing, nothing has failed."""
    names = [model.name for model in snapshot.members]
    assert names == ["byobnet", "resnet", "vit", "vit-again"]
    assert session.scalars(select(func.count()).select_from(AttackRow).where(of(snapshot, AttackRow))).one() == 2 * 2
    two_way = PairRow.fooled_both.is_not(None)
    assert session.scalars(select(func.count()).select_from(PairRow).where(of(snapshot, PairRow), two_way)).one() == 1
    for model in snapshot.members:
        progress = read_progress(snapshot, model)
        assert (progress.stage, progress.complete, progress.prefix_complete) == (Stage.MEASURED, True, True)
        assert progress.fraction == 1
        assert read_similar(snapshot, model.name, order=Order.NEAREST, k=5).missing == 0
        assert ("cannot be attacked" in (progress.reason or "")) == (model.name in {"resnet", "byobnet"})
        # what noise does to all pixels is no measure of what a patch of any values does
        detail = describe(session, snapshot.zoo, model, snapshot)
        assert not [flag for flag in detail.flags if "noise" in flag]
        scores = neighbours(snapshot, model, snapshot.members)
        assert not [each for each in scores if NO_TRANSFER in each.flags]
    whole = read_comparison_progress(snapshot)
    assert (whole.pairs, whole.pairs_measured) == (1, 1)
    assert whole.cells == whole.cells_measured == 2 * 3 * 2
    assert count_progress(session.connection(), snapshot.zoo, snapshot.comparison) == whole


def of(snapshot: Snapshot, table):
    """SQL: the row is of the snapshot's comparison."""
    return table.comparison_id == snapshot.comparison.id
