"""Faults that pass cost time and nothing else; a path that computes otherwise adds nothing."""

import shutil

import numpy as np
import pytest
import torch
from sqlalchemy import select, update

from registry.errors import UnavailableError
from registry.tables import EvaluationRow, JobRow, JobState, ModelState, NetworkRow, PairRow, RefusalRow, TransferRow
from sat_engine import bits
from sat_engine.io.weights import read_weights
from sat_engine.networks import build
from worker.analyses.scores import without_hopeless
from worker.loading import spec_of
from worker.numeric_path import require_same_bits


def test_an_artifact_store_that_goes_away_and_comes_back_fails_nobody(workshop, members, fault_free):
    for member in members[:2]:
        workshop.register(member)
    artifacts = workshop.folder / "artifacts"
    away = workshop.folder / "away"
    workshop.start_worker("light")
    workshop.wait(lambda: all(model.state is ModelState.READY for model in workshop.models()))
    shutil.move(artifacts, away)
    artifacts.mkdir()
    workshop.start_worker("compute")

    def waits():
        with workshop.sessions() as session:
            jobs = session.scalars(select(JobRow).where(JobRow.failure.is_not(None))).all()
        return jobs and all(job.state is JobState.QUEUED and "missing from the store" in job.failure for job in jobs)

    workshop.wait(waits)
    shutil.rmtree(artifacts)
    shutil.move(away, artifacts)

    def measured():
        with workshop.sessions() as session:
            pairs = session.scalars(select(PairRow)).all()
        return workshop.idle() and len(pairs) == 1 and pairs[0].rungs == 2

    workshop.wait(measured)
    assert workshop.measured() == fault_free
    assert all(model.state is ModelState.READY for model in workshop.models())
    with workshop.sessions() as session:
        assert session.scalars(select(RefusalRow)).all() == []
        assert session.scalars(select(JobRow).where(JobRow.failure.is_not(None))).all() == []
        assert len(session.scalars(select(TransferRow)).all()) == 4


def test_a_numeric_path_that_gives_other_clean_bits_is_refused(workshop, members):
    workshop.register(members[0])
    workshop.start_worker()
    workshop.wait(lambda: workshop.idle() and workshop.measured()["attacks"])
    with workshop.sessions.begin() as session:
        network = session.scalars(select(NetworkRow)).one()
        session.execute(update(EvaluationRow).values(numeric_path="another"))
    with workshop.sessions() as session:
        evaluation = session.scalars(select(EvaluationRow).where(EvaluationRow.rung == 1)).one()
        classifier = build(spec_of(network), read_weights(workshop.store.open_local(network.weights)), image_channels=1)
    images = np.zeros((evaluation.n, 32, 32, 1), np.uint8)
    recorded = bits.unpack(evaluation.correct, evaluation.n)
    with pytest.raises(UnavailableError, match="differ on"):
        require_same_bits(classifier, evaluation, images, np.zeros(evaluation.n, np.int64))
    # black images are all of one class: with fitting labels the recorded bits come out, and the paths may mix
    predicted = int(classifier(torch.zeros(1, 1, 32, 32)).argmax())
    labels = np.where(recorded, predicted, (predicted + 1) % 10)
    require_same_bits(classifier, evaluation, images, labels)


@pytest.mark.parametrize(
    ("hopeless", "left"),
    [(set(), [1, 2, 3, 4]), ({(1, 4)}, [1, 2, 3]), ({(1, 2), (1, 3), (1, 4)}, [2, 3, 4]), ({(8, 9)}, [1, 2, 3, 4])],
)
def test_networks_that_can_never_be_compared_are_left_out_worst_first(hopeless, left):
    assert without_hopeless([1, 2, 3, 4], {frozenset(pair) for pair in hopeless}) == left
