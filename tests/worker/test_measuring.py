"""Real workers measure every pair exactly once, whatever is registered when."""

import threading

import numpy as np
from safetensors.numpy import load_file, save_file
from sqlalchemy import func, select

from registry.access import LOCAL
from registry.analyses import find_analysis, request_analysis
from registry.database import transaction
from registry.declarations import ModelDeclaration
from registry.image_sets import ImageSetReader
from registry.models import delete_model, retry_model
from registry.protocols import load_protocol
from registry.tables import (
    AnalysisKind,
    AttackRow,
    ComparisonRow,
    EvaluationRow,
    ImageSetRow,
    JobKind,
    JobRow,
    ModelState,
    NetworkRow,
    PairRow,
    Part,
    ProtocolRow,
    TransferRow,
)
from sat_engine import bits, measure
from sat_engine.io.weights import read_weights
from sat_engine.networks import build
from tests.hub import NAME, TAG
from worker.loading import spec_of


def count(workshop, table) -> int:
    with workshop.sessions() as session:
        return session.scalars(select(func.count()).select_from(table)).one()


def test_every_pair_is_measured_once_and_as_the_engine_alone_would(workshop, members):
    resnet, byobnet, nfnet = members
    workshop.start_worker("light")
    workshop.start_worker("compute")
    workshop.start_worker("compute")
    for member in (resnet, byobnet, nfnet):
        workshop.register(member)
    workshop.wait(lambda: count(workshop, PairRow) == 3 and workshop.idle())
    assert [model.state for model in workshop.models()] == [ModelState.READY] * 3
    assert count(workshop, AttackRow) == 3 * 2
    assert count(workshop, TransferRow) == 6 * 2
    assert count(workshop, EvaluationRow) == 3 * 4
    with workshop.sessions() as session:
        pairs = session.scalars(select(PairRow)).all()
        assert all(pair.rungs == 2 and pair.fooled_both is not None for pair in pairs)
    check_against_engine(workshop)

    # one more model among n: its own row and column, and nothing again
    before = workshop.measured()
    workshop.register(resnet, "resnet-again-under-another-name")
    workshop.register(nfnet, "nfnet-bfloat", expected_accuracy=0.9)
    workshop.wait(workshop.idle)
    assert workshop.measured() == before, "the same networks need no new measurement"

    with transaction(workshop.sessions, lambda _: None) as session:
        delete_model(session, "byobnet", actor=LOCAL)
    workshop.register(byobnet, "byobnet-returns")
    workshop.wait(lambda: workshop.models()[-1].state is ModelState.READY and workshop.idle())
    assert workshop.measured() == before, "identical content reuses what is recorded"

    check_analyses(workshop)


def check_against_engine(workshop):
    """Recompute one cell of unequal input sizes with the engine alone, rung by rung, bit by bit."""
    with workshop.sessions() as session:
        image_set = session.scalars(select(ImageSetRow)).one()
        protocol = load_protocol(session.scalars(select(ProtocolRow).where(ProtocolRow.name == "quick")).one())
        source = session.scalars(select(NetworkRow).where(NetworkRow.input_side == 24)).one()
        target = session.scalars(select(NetworkRow).where(NetworkRow.architecture == "test_resnet")).one()
        cells = {
            row.rung: row
            for row in session.scalars(
                select(TransferRow).where(TransferRow.source_id == source.id, TransferRow.target_id == target.id)
            )
        }
    networks = [
        build(spec_of(row), read_weights(workshop.store.open_local(row.weights)), image_channels=1)
        for row in (source, target)
    ]
    reader = ImageSetReader(image_set, workshop.store.open_local(image_set.content))
    for rung, start in ((0, 0), (1, 64)):
        images, labels = reader.read(Part.ATTACK, rung)
        right = [measure.correct(measure.evaluate(each, images), labels) for each in networks]
        made = measure.attack(networks[0], images, labels, right[0], protocol, positions_from=start)
        common = right[0] & right[1]
        fooled = measure.transfer(networks[1], made.images, made.positions, labels, common)
        floor = measure.floor(networks[1], images, labels, common, source_side=24)
        ceiling = measure.ceiling(networks[0], made.images, made.positions, labels, target_side=32)
        recorded = cells[rung]
        assert recorded.common == common.sum()
        for packed, expected in (
            (recorded.fooled, fooled),
            (recorded.floor_fooled, floor),
            (recorded.ceiling_fooled, ceiling),
        ):
            np.testing.assert_array_equal(bits.unpack(packed, len(labels)), expected)


def check_analyses(workshop):
    """Clusters and an ensemble's worth come from a light job."""
    with workshop.sessions() as session:
        ids = list(session.scalars(select(NetworkRow.id).order_by(NetworkRow.id)))
        comparison_id = session.scalars(select(ComparisonRow.id)).one()
    wanted = [
        (AnalysisKind.CLUSTERS, {"k": 2}),
        (AnalysisKind.ENSEMBLE, {"members": ids[:2], "candidates": ids, "n": 2}),
    ]
    with transaction(workshop.sessions, lambda _: None) as session:
        for kind, parameters in wanted:
            request_analysis(session, comparison_id, kind, parameters)
    workshop.wait(workshop.idle)
    with workshop.sessions() as session:
        clusters, ensemble = (find_analysis(session, comparison_id, kind, each) for kind, each in wanted)
        assert clusters.failure is None
        assert clusters.result["networks"] == ids
        assert sorted(set(clusters.result["labels"])) == [0, 1]
        assert ensemble.failure is None
        assert ensemble.result["logits"]["ensemble"]["n"] == 24
        assert ensemble.result["baselines"]["best_single"] in ids


def test_two_models_registered_at_the_same_instant_meet(workshop, members):
    workshop.start_worker()
    workshop.start_worker()
    barrier = threading.Barrier(2)

    def register(member):
        barrier.wait()
        workshop.register(member)

    threads = [threading.Thread(target=register, args=(member,)) for member in members[:2]]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    workshop.wait(lambda: count(workshop, PairRow) == 1 and workshop.idle())
    with workshop.sessions() as session:
        assert session.scalars(select(PairRow)).one().fooled_both is not None


def test_models_that_come_before_the_comparison_measures_wait_for_it(workshop, members):
    from registry.comparisons import change_comparison
    from registry.declarations import ComparisonChange

    with workshop.sessions.begin() as session:
        change_comparison(session, "digits", "quick", ComparisonChange(state="paused"))
    workshop.register(members[0])
    workshop.start_worker()
    workshop.wait(lambda: workshop.models()[0].state is ModelState.READY)
    assert count(workshop, EvaluationRow) == 0
    with transaction(workshop.sessions, lambda _: None) as session:
        change_comparison(session, "digits", "quick", ComparisonChange(state="measuring"))
    workshop.wait(lambda: count(workshop, AttackRow) == 2)


def test_a_pair_without_common_images_has_no_score_and_holds_nobody_back(workshop, members):
    resnet = members[0]
    # the same network with its classes turned round is right exactly where the other is not
    tensors = load_file(workshop.checkpoints["resnet"])
    name = next(name for name in tensors if name.endswith(("fc.weight", "classifier.weight")))
    for each in (name, name.replace("weight", "bias")):
        tensors[each] = np.roll(tensors[each], 1, axis=0)
    path = workshop.folder / "turned.safetensors"
    save_file(tensors, path)
    workshop.checkpoints = workshop.checkpoints | {"turned": path}
    workshop.start_worker()
    workshop.register(resnet)
    declaration = ModelDeclaration.model_validate(resnet.metadata() | {"name": "turned"})
    workshop.register_file(declaration, path)
    workshop.wait(lambda: count(workshop, TransferRow) == 4 and workshop.idle())
    with workshop.sessions() as session:
        pair = session.scalars(select(PairRow)).one()
        assert (pair.n, pair.fooled_ab, pair.fooled_ba, pair.fooled_both) == (0, 0, 0, 0)
    turned = workshop.models()[1]
    assert turned.state is ModelState.SUSPECT
    assert "where guessing gets 10.0%" in turned.concern
    assert "order of `classes`" in turned.concern


def test_a_checkpoint_that_does_not_fit_names_its_tensors_and_can_be_retried(workshop, members):
    resnet, byobnet, _ = members
    workshop.start_worker()
    workshop.checkpoints = workshop.checkpoints | {"resnet": workshop.checkpoints["byobnet"]}
    workshop.register(resnet)
    workshop.register(byobnet)
    workshop.wait(lambda: workshop.idle() and workshop.models()[1].state is ModelState.READY)
    failed = workshop.models()[0]
    assert failed.state is ModelState.FAILED
    assert "does not fit the architecture" in failed.failure
    assert "is missing" in failed.failure
    with transaction(workshop.sessions, lambda _: None) as session:
        assert retry_model(session, "resnet", actor=LOCAL) == "resnet"
    workshop.wait(lambda: workshop.idle() and workshop.models()[0].state is ModelState.FAILED)


def test_a_network_with_nan_answers_fails_alone(workshop, members):
    resnet, byobnet, _ = members
    tensors = load_file(workshop.checkpoints["resnet"])
    tensors = {name: (value * 1e30 if name.endswith("weight") else value) for name, value in tensors.items()}
    path = workshop.folder / "huge.safetensors"
    save_file(tensors, path)
    workshop.start_worker()
    workshop.checkpoints = workshop.checkpoints | {"resnet": path}
    workshop.register(resnet)
    workshop.register(byobnet)
    workshop.wait(lambda: workshop.idle() and count(workshop, AttackRow) == 2)
    failed, fine = workshop.models()
    assert failed.state is ModelState.FAILED
    assert "not finite" in failed.failure
    assert fine.state is ModelState.READY


def test_the_bell_is_only_a_bell(workshop, members):
    """With Redis emptied while jobs wait, and no message at all, the work is found and done."""
    for member in members[:2]:
        workshop.register(member)  # rings nobody
    workshop.start_worker()
    workshop.wait(lambda: count(workshop, PairRow) == 1 and workshop.idle())


def test_a_stopped_worker_gives_its_job_back_at_once(workshop, members):
    worker = workshop.start_worker(SAT_LEASE_SECONDS="60")
    workshop.register(members[0])

    def attacking():
        with workshop.sessions() as session:
            return session.scalars(
                select(JobRow.id).where(JobRow.kind == JobKind.ATTACK, JobRow.lease_until.is_not(None))
            ).first()

    workshop.wait(attacking)
    worker.terminate()
    assert worker.wait(timeout=20) == 0
    with workshop.sessions() as session:
        job = session.scalars(select(JobRow).where(JobRow.kind == JobKind.ATTACK)).one()
        assert job.lease_until is None
    idle = workshop.start_worker(SAT_LEASE_SECONDS="60")
    workshop.wait(lambda: count(workshop, AttackRow) == 2 and workshop.idle())
    idle.terminate()
    assert idle.wait(timeout=20) == 0, "with nothing to do it ends at once"


def test_pretrained_weights_are_fetched_and_measured(workshop, members, hub):
    workshop.start_worker(HF_ENDPOINT=hub.address, HF_HOME=str(workshop.folder / "hub"))
    workshop.register(members[0])
    workshop.register_file(pretrained("fetched"), None)
    workshop.wait(lambda: count(workshop, PairRow) == 1 and workshop.idle())
    with workshop.sessions() as session:
        network = session.scalars(select(NetworkRow).where(NetworkRow.architecture == NAME)).one()
    assert (network.input_side, network.channels) == (64, 3)
    np.testing.assert_allclose(network.mean, [0.1, 0.2, 0.3])
    # whoever asks for the weights gets the hub's, although they were never uploaded
    served = workshop.folder / "served.safetensors"
    served.write_bytes(hub.files["model.safetensors"])
    original, stored = load_file(served), load_file(workshop.store.open_local(network.weights))
    assert original.keys() == stored.keys()
    assert all((original[name] == stored[name]).all() for name in original)


def test_weights_that_cannot_be_fetched_fail_with_that_reason(workshop, members):
    workshop.start_worker(HF_ENDPOINT="http://127.0.0.1:9", HF_HOME=str(workshop.folder / "hub"))
    workshop.register_file(pretrained("away"), None)
    workshop.register(members[0])
    workshop.wait(lambda: workshop.idle() and count(workshop, AttackRow) == 2)
    away, fine = workshop.models()
    assert away.state is ModelState.FAILED
    assert "http://127.0.0.1:9 cannot be reached" in away.failure
    assert fine.state is ModelState.READY


def pretrained(name: str) -> ModelDeclaration:
    return ModelDeclaration.model_validate(
        {"name": name, "architecture": NAME, "pretrained": TAG, "classes": list("0123456789")}
    )
