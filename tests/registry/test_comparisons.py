"""A comparison and a network that come at once find each other."""

import threading

import pytest
from sqlalchemy import select

import registry.comparisons
from registry.access import LOCAL
from registry.archiving import archive_model
from registry.changes import ModelChange, change_model
from registry.comparisons import create_comparison
from registry.declarations import ComparisonDeclaration
from registry.jobs import claim, finish
from registry.models import delete_model
from registry.networks import PreparedNetwork, record_prepared
from registry.restoring import restore_model
from registry.tables import (
    ComparisonRow,
    JobKind,
    JobRow,
    Lane,
    ModelRow,
    NameRow,
    NetworkRow,
    ProtocolRow,
    Source,
)
from registry.wanting import want
from tests.registry.conftest import add_artifact


def prepare(small):
    """A model whose preparation is claimed; returns what records it."""
    with small.sessions.begin() as session:
        weights = add_artifact(session, "weights")
        model = ModelRow(
            task_id=small.task_id, source=Source.UPLOAD, declaration={}, checkpoint=weights, content_sha256=weights
        )
        session.add(model)
        session.flush()
        session.add(NameRow(name="newcomer", model_id=model.id, is_alias=False))
        want(session, JobKind.PREPARE, model_id=model.id)
    with small.sessions.begin() as session:
        claimed = claim(session, (Lane.LIGHT,), small.worker_id, 60)
    network = PreparedNetwork(
        digest=b"n" * 32, architecture="test_resnet", model_args={}, input_side=32, channels=1, mean=(0.5,),
        std=(0.5,), class_map=(0, 1), components={}, base="CNN", family="resnet", parameters=1, macs=1,
        weights=weights,
    )  # fmt: skip

    def record(session):
        record_prepared(session, claimed, network)
        finish(session, claimed)

    return record


def restore(small):
    small.add_network("newcomer")
    with small.sessions.begin() as session:
        delete_model(session, "newcomer", actor=LOCAL)
    return lambda session: restore_model(session, "newcomer", actor=LOCAL)


def unarchive(small):
    small.add_network("newcomer")
    with small.sessions.begin() as session:
        archive_model(session, "newcomer")
    change = ModelChange.model_validate({"state": "ready"})
    return lambda session: change_model(session, "newcomer", change, actor=LOCAL, seen=None)


@pytest.mark.parametrize("come", [prepare, restore, unarchive])
def test_a_network_that_becomes_live_while_a_comparison_is_made_is_evaluated_on_it(small, monkeypatch, come):
    becomes_live = come(small)
    with small.sessions() as session:
        other = session.scalars(select(ProtocolRow.name).where(ProtocolRow.name != "pgd")).first()
    looked, may_commit = threading.Event(), threading.Event()
    look = registry.comparisons.want_everything

    def look_and_wait(session, comparison):
        look(session, comparison)
        looked.set()
        assert may_commit.wait(20)

    monkeypatch.setattr(registry.comparisons, "want_everything", look_and_wait)

    def make():
        declaration = {"image_set": "images", "protocol": other, "state": "measuring"}
        with small.sessions.begin() as session:
            create_comparison(session, ComparisonDeclaration.model_validate(declaration))

    def arrive():
        with small.sessions.begin() as session:
            becomes_live(session)

    threads = [threading.Thread(target=make), threading.Thread(target=arrive)]
    threads[0].start()
    assert looked.wait(20)
    threads[1].start()
    # without the lock it would commit now, unseen and unseeing
    threads[1].join(1)
    may_commit.set()
    for thread in threads:
        thread.join(20)
    with small.sessions() as session:
        comparisons = set(session.scalars(select(ComparisonRow.id)))
        asked = session.scalars(
            select(JobRow.comparison_id)
            .join(NetworkRow, NetworkRow.id == JobRow.network_id)
            .where(JobRow.kind == JobKind.EVALUATE)
        )
        assert len(comparisons) == 2
        assert set(asked) == comparisons
