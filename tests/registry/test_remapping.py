"""A model may come before its image set, and name the classes in another order: it is measured all the same."""

import threading

import numpy as np
import pytest
from sqlalchemy import select

from registry.access import LOCAL
from registry.comparisons import create_comparison
from registry.declarations import ComparisonDeclaration, ImageSetDeclaration, ModelDeclaration
from registry.image_sets import create_image_set
from registry.jobs import LostLeaseError, claim, finish
from registry.models import delete_model, register_model
from registry.networks import PreparedNetwork, record_prepared
from registry.protocols import ensure_presets
from registry.storage.artifacts import Artifact, ArtifactStore
from registry.tables import JobKind, JobRow, JobState, Lane, ModelRow, ModelState, NetworkRow, TaskRow, WorkerRow
from sat_engine.io.tensors import write_arrays
from tests.registry.conftest import add_artifact

INPUT = {"size": 32, "channels": 1, "mean": [0.3], "std": [0.38]}
PETS, TURNED = ["cat", "dog", "eel"], ["eel", "cat", "dog"]


@pytest.fixture
def import_pets(tmp_path, sessions):
    """Import the image set `pets`, whose classes come in the order cat, dog, eel."""
    store = ArtifactStore(str(tmp_path / "artifacts"), tmp_path / "cache")
    path = tmp_path / "content.safetensors"
    write_arrays(path, {"images": np.zeros((12, 4, 4, 1), np.uint8), "labels": np.arange(12) % 3})
    content = store.put_file(path, "image-set", sessions)
    declaration = ImageSetDeclaration.model_validate({"name": "pets", "classes": PETS})

    def create():
        with sessions.begin() as session:
            create_image_set(session, declaration, content=content, content_path=path)

    return create


def register(sessions, name, classes=TURNED):
    declaration = ModelDeclaration.model_validate(
        {"name": name, "architecture": "test_resnet", "input": INPUT, "classes": classes}
    )
    with sessions.begin() as session:
        digest = add_artifact(session, "weights")
        register_model(session, declaration, checkpoint=Artifact(digest, 7), actor=LOCAL)


def the_model(sessions):
    with sessions() as session:
        model = session.scalars(select(ModelRow).order_by(ModelRow.id)).first()
        return model, session.get_one(TaskRow, model.task_id)


def claim_prepare(sessions):
    with sessions.begin() as session:
        worker = WorkerRow(host="test", pid=1, lanes="light", device="none", code_version="0", torch_version="0")
        session.add(worker)
        session.flush()
        return claim(session, (Lane.LIGHT,), worker.id, 15)


def prepare(sessions, claimed):
    """Do what the prepare job does, without a network."""
    with sessions.begin() as session:
        model = session.get_one(ModelRow, claimed.model_id)
        outputs = model.declaration["class_map"]
        network = PreparedNetwork(
            digest=bytes(outputs).ljust(32, b"n"), architecture="test_resnet", model_args={}, input_side=32,
            channels=1, mean=(0.3,), std=(0.38,), class_map=tuple(outputs), components={}, base=None, family=None,
            parameters=1, macs=1, weights=add_artifact(session, "weights"),
        )  # fmt: skip
        record_prepared(session, claimed, network)
        finish(session, claimed)


def test_a_prepared_model_is_brought_to_the_image_sets_order_and_then_evaluated(sessions, import_pets):
    register(sessions, "early")
    prepare(sessions, claim_prepare(sessions))
    model, task = the_model(sessions)
    assert (task.classes, model.state) == (TURNED, ModelState.READY)
    import_pets()
    model, task = the_model(sessions)
    assert (task.classes, model.state, model.network_id) == (PETS, ModelState.RECEIVED, None)
    assert model.declaration["class_map"] == [TURNED.index(name) for name in PETS]
    with sessions.begin() as session:
        ensure_presets(session)
        create_comparison(
            session,
            ComparisonDeclaration.model_validate({"image_set": "pets", "protocol": "pgd", "state": "measuring"}),
        )
    prepare(sessions, claim_prepare(sessions))
    with sessions() as session:
        evaluate = session.scalars(select(JobRow).where(JobRow.kind == JobKind.EVALUATE)).one()
        network = session.get_one(NetworkRow, evaluate.network_id)
    assert evaluate.state is JobState.QUEUED
    assert network.class_map == [1, 2, 0]


def test_a_preparation_under_way_is_fenced_off(sessions, import_pets):
    register(sessions, "early")
    claimed = claim_prepare(sessions)
    import_pets()
    with pytest.raises(LostLeaseError):
        prepare(sessions, claimed)
    prepare(sessions, claim_prepare(sessions))
    assert the_model(sessions)[0].state is ModelState.READY


def test_the_same_registration_again_stays_harmless(sessions, import_pets):
    register(sessions, "early")
    import_pets()
    register(sessions, "early")
    register(sessions, "late")
    with sessions() as session:
        rows = session.scalars(select(ModelRow)).all()
    assert len(rows) == 2
    assert len({(row.task_id, row.content_sha256) for row in rows}) == 1, "nobody joins the task without images"


def test_models_of_other_classes_and_deleted_ones_start_nothing(sessions, import_pets):
    register(sessions, "early", [*TURNED, "fox"])
    import_pets()
    assert the_model(sessions)[1].classes == [*TURNED, "fox"]
    with sessions.begin() as session:
        delete_model(session, "early", actor=LOCAL)
    with sessions() as session:
        assert session.scalars(select(JobRow.state)).all() == [JobState.IDLE]


def test_a_failed_model_is_mapped_and_stays_failed_until_it_is_retried(sessions, import_pets):
    register(sessions, "early")
    with sessions.begin() as session:
        model = session.scalars(select(ModelRow)).one()
        model.state, model.failure = ModelState.FAILED, "no"
    import_pets()
    model, task = the_model(sessions)
    assert (task.classes, model.state, model.failure) == (PETS, ModelState.FAILED, "no")
    with sessions() as session:
        assert session.scalars(select(JobRow.state)).all() == [JobState.IDLE]


@pytest.mark.parametrize("repetition", range(5))
def test_an_image_set_and_a_model_that_come_at_once_find_each_other(sessions, import_pets, repetition):
    register(sessions, "first")
    barrier = threading.Barrier(2)

    def run(act):
        barrier.wait()
        act()

    threads = [threading.Thread(target=run, args=(act,)) for act in (import_pets, lambda: register(sessions, "late"))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with sessions() as session:
        classes = session.scalars(select(TaskRow.classes).join(ModelRow, ModelRow.task_id == TaskRow.id)).all()
    assert classes == [PETS, PETS]
