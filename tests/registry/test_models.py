"""Registering, deleting and retrying models: names, content, and what becomes of the work."""

import threading
import time

import pytest
from sqlalchemy import func, select
from sqlalchemy.exc import IntegrityError

from registry.access import LOCAL
from registry.database import transaction
from registry.declarations import ModelDeclaration
from registry.errors import ConflictError, InvalidError, NotFoundError
from registry.faults import give_up
from registry.jobs import LostLeaseError, claim
from registry.models import delete_model, register_model, retry_model
from registry.naming import find_model, resolve
from registry.networks import PreparedNetwork, judge_accuracy, record_prepared
from registry.reads.models import _flags
from registry.reads.solo import Share
from registry.storage.artifacts import Artifact
from registry.tables import (
    ArtifactRow,
    ArtifactState,
    ComparisonRow,
    EvaluationRow,
    ImageSetRow,
    JobKind,
    JobRow,
    Lane,
    ModelRow,
    ModelState,
    NameRow,
    NetworkRow,
)
from registry.wanting import want

INPUT = {"size": 32, "channels": 1, "mean": [0.3], "std": [0.38]}


def add_checkpoint(small, content: str) -> Artifact:
    digest = content.encode().ljust(32, b".")
    with small.sessions.begin() as session:
        session.merge(ArtifactRow(sha256=digest, kind="checkpoint", bytes=1, state=ArtifactState.STORED))
    return Artifact(digest, 1)


def register(small, name="m", content="weights", **declared):
    declaration = ModelDeclaration.model_validate(
        {"name": name, "architecture": "test_resnet", "input": INPUT, "task": "task"} | declared
    )
    checkpoint = None if "pretrained" in declared else add_checkpoint(small, content)
    with transaction(small.sessions, lambda _: None) as session:
        return register_model(session, declaration, checkpoint=checkpoint, actor=LOCAL)


def prepared(session, digest=b"n" * 32) -> PreparedNetwork:
    """What the prepare job would make."""
    weights = session.scalars(select(ArtifactRow.sha256)).first()
    return PreparedNetwork(
        digest=digest, architecture="test_resnet", model_args={}, input_side=32, channels=1, mean=(0.3,), std=(0.38,),
        class_map=(0, 1), components={}, base=None, family=None, parameters=1, macs=1, weights=weights,
    )  # fmt: skip


def prepare(small):
    """Do what the prepare job does, without a network."""
    claimed = small.claim(Lane.LIGHT)
    with small.sessions.begin() as session:
        record_prepared(session, claimed, prepared(session))
    return claimed


def count(small, table):
    with small.sessions() as session:
        return session.scalars(select(func.count()).select_from(table)).one()


def the_model(small):
    with small.sessions() as session:
        return session.scalars(select(ModelRow).order_by(ModelRow.id.desc())).first()


def test_a_registered_model_waits_for_its_preparation(small):
    assert register(small) == "m"
    claimed = small.claim(Lane.LIGHT)
    assert (claimed.kind, claimed.model_id) == (JobKind.PREPARE, the_model(small).id)


def test_the_same_again_changes_nothing(small):
    register(small)
    assert register(small, description="the same weights, in other words") == "m"
    assert count(small, ModelRow) == 1
    assert count(small, JobRow) == 1


@pytest.mark.parametrize(
    "other", [{"content": "others"}, {"input": INPUT | {"size": 40}}, {"weights": "ema"}, {"model_args": {"depth": 2}}]
)
def test_the_same_name_with_other_content_is_refused(small, other):
    register(small)
    with pytest.raises(ConflictError, match="already holds other content"):
        register(small, **other)
    assert count(small, ModelRow) == 1


def test_one_name_registered_at_the_same_instant_has_one_winner(small):
    results, barrier = [], threading.Barrier(6)
    checkpoints = [f"content-{i}" for i in range(3)]
    for content in checkpoints:
        add_checkpoint(small, content)

    def go(content):
        barrier.wait()
        try:
            results.append((content, register(small, content=content)))
        except ConflictError:
            results.append((content, None))

    threads = [threading.Thread(target=go, args=(content,)) for content in checkpoints * 2]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert count(small, ModelRow) == 1
    assert count(small, NameRow) == 1
    winners = {content for content, name in results if name}
    assert len(results) == 6
    assert len(winners) == 1
    assert sum(name is not None for _, name in results) == 2


@pytest.mark.parametrize(
    ("declared", "complaint"),
    [
        ({"architecture": "resnet5O"}, "did you mean resnet50"),
        ({"architecture": "hf-hub:somebody/model"}, "are not opened"),
        ({"architecture": "local-dir:/etc"}, "are not opened"),
        ({"pretrained": "made_up"}, "Its tags: r160_in1k"),
        ({"pretrained": "r160_in1k", "model_args": {"depth": 2}}, "leave `model_args` out"),
        ({"task": None, "classes": ["yes", "perhaps"]}, "no missing"),
        ({"supersedes": "nobody"}, "no model 'nobody'"),
        ({"task": "another"}, "Tasks: task"),
    ],
)
def test_what_cannot_be_registered_is_refused_with_the_reason(small, declared, complaint):
    with pytest.raises((InvalidError, NotFoundError), match=complaint):
        register(small, **declared)
    assert count(small, ModelRow) == 0


def test_classes_may_come_in_another_order_and_with_more(small):
    register(small, task=None, classes=["maybe", "yes", "no"])
    declaration = the_model(small).declaration
    assert (declaration["class_map"], declaration["outputs"]) == ([2, 1], 3)


def test_the_input_is_taken_from_the_catalogue(small):
    register(small, input=None)
    assert the_model(small).declaration["input"]["size"] == 160


def test_two_models_may_share_a_network(small):
    register(small, "one")
    register(small, "two")
    prepare(small)
    prepare(small)
    assert count(small, NetworkRow) == 1
    with small.sessions() as session:
        assert resolve(session, "one").network_id == resolve(session, "two").network_id
        assert find_model(session, f"@{(b'n' * 32).hex()[:8]}").id == resolve(session, "one").id
        assert find_model(session, "@ffffffff") is None
        # one evaluation serves both
        assert len(session.scalars(select(JobRow).where(JobRow.kind == JobKind.EVALUATE)).all()) == 1


def test_a_deleted_model_frees_its_name_and_fences_off_its_work(small):
    register(small)
    claimed = small.claim(Lane.LIGHT)
    with small.sessions.begin() as session:
        delete_model(session, "m", actor=LOCAL)
    with small.sessions.begin() as session:
        assert find_model(session, "m") is None
        with pytest.raises(LostLeaseError):
            give_up(session, claimed, "too late")
    assert register(small, content="others") == "m"
    assert count(small, ModelRow) == 2
    with pytest.raises(NotFoundError, match="no model 'gone'"), small.sessions.begin() as session:
        delete_model(session, "gone", actor=LOCAL)


def test_deleting_one_name_of_a_shared_network_leaves_its_work(small):
    register(small, "one")
    register(small, "two")
    prepare(small)
    prepare(small)
    with small.sessions.begin() as session:
        delete_model(session, "one", actor=LOCAL)
        assert claim(session, (Lane.COMPUTE,), small.worker_id, 15) is not None
    with small.sessions.begin() as session:
        delete_model(session, "two", actor=LOCAL)
    assert small.claim() is None


def test_a_preparation_that_commits_during_a_deletion_keeps_its_work(small):
    """The new model's preparation holds the network's job row while the old model's deletion waits for it."""
    register(small, "old")
    prepare(small)
    register(small, "new")
    claimed = small.claim(Lane.LIGHT)
    started = threading.Event()

    def delete():
        started.set()
        with small.sessions.begin() as session:
            delete_model(session, "old", actor=LOCAL)

    deletion = threading.Thread(target=delete)
    with small.sessions.begin() as session:
        record_prepared(session, claimed, prepared(session))
        deletion.start()
        started.wait()
        time.sleep(0.3)
    deletion.join()
    assert small.claim().kind is JobKind.EVALUATE


def test_a_failed_model_is_retried_once_its_cause_is_gone(small):
    register(small)
    with pytest.raises(ConflictError, match="nothing of model 'm' has failed"), small.sessions.begin() as session:
        retry_model(session, "m", actor=LOCAL)
    claimed = small.claim(Lane.LIGHT)
    with small.sessions.begin() as session:
        give_up(session, claimed, "the hub could not be reached")
    assert (the_model(small).state, the_model(small).failure) == (ModelState.FAILED, "the hub could not be reached")
    with small.sessions.begin() as session:
        retry_model(session, "m", actor=LOCAL)
    prepare(small)
    assert (the_model(small).state, the_model(small).failure) == (ModelState.READY, None)


def test_every_change_of_a_model_raises_the_version(small):
    versions = []

    def version():
        with small.sessions() as session:
            versions.append(session.scalars(select(ComparisonRow.version)).one())

    version()
    register(small)
    version()
    prepare(small)
    version()
    with small.sessions.begin() as session:
        delete_model(session, "m", actor=LOCAL)
    version()
    assert versions == sorted(set(versions))


@pytest.mark.parametrize(
    ("right_of_8", "expected", "concern"),
    [(8, None, None), (4, None, "where guessing gets 50.0%"), (8, 0.98, None), (8, 0.9, "90.0% was expected")],
)
def test_an_accuracy_that_cannot_be_right_makes_a_model_suspect(small, right_of_8, expected, concern):
    network = small.add_network("a")
    with small.sessions.begin() as session:
        for row in session.scalars(select(EvaluationRow)).all():
            row.n_correct = row.n * right_of_8 // 8
        session.query(ModelRow).one().expected_accuracy = expected
    with small.sessions.begin() as session:
        judge_accuracy(session, network)
    model = the_model(small)
    assert (model.state is ModelState.SUSPECT) == (concern is not None)
    if concern:
        assert concern in model.concern


def test_a_harder_image_set_beside_makes_nobody_suspect(small):
    network = small.add_network("a")
    with small.sessions.begin() as session:
        first = session.get_one(ImageSetRow, small.image_set_id)
        harder = ImageSetRow(
            name="harder", task_id=small.task_id, digest=b"h" * 32, content=first.content, n_attack=100, n_select=0,
            n_report=0, prefix=100, order_seed=0, side=32, channels=1,
        )  # fmt: skip
        session.add(harder)
        session.flush()
        evaluation = session.scalars(select(EvaluationRow)).first()
        session.add(
            EvaluationRow(
                network_id=network, image_set_id=harder.id, part=evaluation.part, rung=0, n=100, correct=bytes(13),
                n_correct=0, logits=evaluation.logits, numeric_path="test", worker_id=small.worker_id,
            )
        )  # fmt: skip
    with small.sessions.begin() as session:
        judge_accuracy(session, network)
    assert the_model(small).state is ModelState.READY


def test_the_database_itself_refuses_what_may_not_be(small):
    network = small.add_network("a")
    with pytest.raises(IntegrityError, match="ck_jobs_model"), small.sessions.begin() as session:
        want(session, JobKind.PREPARE, network_id=network)
    with pytest.raises(IntegrityError, match="ck_models_failure"), small.sessions.begin() as session:
        session.query(ModelRow).one().state = ModelState.FAILED
    with pytest.raises(IntegrityError, match="ck_names_name"), small.sessions.begin() as session:
        session.add(NameRow(name="../etc", model_id=session.query(ModelRow).one().id, is_alias=True))
    assert the_model(small).state is ModelState.READY


def test_of_no_attacked_image_nothing_is_flagged():
    assert _flags(Share(0, 0), Share(0, 0)) == []
    assert [flag.split(":")[0] for flag in _flags(Share(94, 100), None)] == ["self-fooling below 95 %"]
