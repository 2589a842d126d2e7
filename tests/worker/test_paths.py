"""What a worker takes from recorded numeric paths, and what it hears while it measures: its functions, on real rows."""

import contextlib
import shutil

import pytest
import torch
from sqlalchemy import Engine, func, make_url, select, update

from registry.database import make_engine, make_sessions
from registry.errors import UnavailableError
from registry.jobs import Claim
from registry.pending import Cell
from registry.settings import Settings
from registry.storage.eviction import evict
from registry.tables import (
    AttackRow,
    ComparisonRow,
    EvaluationRow,
    ImageSetRow,
    JobKind,
    Lane,
    NetworkRow,
    ProtocolRow,
    TransferRow,
)
from sat_engine import measure
from sat_engine.batching import Batch
from tests.worker.conftest import MEMBERS, make_workshop
from worker.adversarial import OtherImagesError, adversarial_images
from worker.app import make_context
from worker.context import Context, StoppingError
from worker.lease import Lease
from worker.loading import load_classifier
from worker.sources import sources_of
from worker.subject import Subject
from worker.tasks.transfers import _load_target, _transfer


@pytest.fixture(scope="module")
def once(servers, template, checkpoints, tmp_path_factory):
    """The database and the folder of two measured networks of unequal input size."""
    folder = tmp_path_factory.mktemp("measured")
    with servers.clone(template) as url:
        engine = make_engine(url)
        workshop = make_workshop(make_sessions(engine), url, servers.valkey.url, checkpoints, folder)
        try:
            for member in (MEMBERS[0], MEMBERS[2]):
                workshop.register(member)
            workshop.start_worker()
            workshop.wait(lambda: workshop.idle() and len(workshop.measured()["pairs"]) == 1)
        finally:
            workshop.stop_all()
            engine.dispose()
        yield str(make_url(url).database), folder


@pytest.fixture
def measured(servers, once, tmp_path, monkeypatch):
    """A registry as it was left by a worker; a copy, to change things in."""
    database, folder = once
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as the worker was started, whatever this process has
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    with servers.clone(database) as url:
        environment = {
            "DATABASE_URL": url,
            "REDIS_URL": servers.valkey.url,
            "SAT_ARTIFACTS": str(tmp_path / "artifacts"),
            "SAT_CACHE": str(tmp_path / "cache"),
            "SAT_DEVICE": "cpu",
        }
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        engines: list[Engine] = []
        yield Measured(engines)
        for engine in engines:
            engine.dispose()
    torch.set_num_threads(threads)


class Measured:
    """Its sessions, and worker processes' contexts in this process."""

    def __init__(self, engines: list[Engine]) -> None:
        self._engines = engines
        self.sessions = self.start().sessions

    def start(self) -> Context:
        """What a worker process has when it starts."""
        context = make_context(Settings())
        self._engines.append(context.sessions.kw["bind"])
        return context


def subject_of(workshop, side: int) -> Subject:
    """The network of that input size, as a job about it reads it."""
    with workshop.sessions() as session:
        return Subject(
            comparison_id=session.scalars(select(ComparisonRow.id)).one(),
            network=session.scalars(select(NetworkRow).where(NetworkRow.input_side == side)).one(),
            image_set=session.scalars(select(ImageSetRow)).one(),
            protocol=session.scalars(select(ProtocolRow).join(ComparisonRow)).one(),
        )


def lease_on(context, subject: Subject) -> Lease:
    """A lease as a transfers job onto the subject has it; nobody takes it away."""
    claim = Claim(
        job_id=0, kind=JobKind.TRANSFERS, lane=Lane.COMPUTE, model_id=None, network_id=subject.network.id,
        comparison_id=subject.comparison_id, priority=0, attempt=1, fence=1, worker_id=context.worker_id,
    )  # fmt: skip
    return Lease(context, claim)


def measure_cell(context, onto: Subject, source: NetworkRow):
    """One cell of rung 0, as the transfers task measures it."""
    lease = lease_on(context, onto)
    target = _load_target(context, lease, onto, 0)
    ((_, found),) = sources_of(context, onto.comparison_id, onto.image_set, onto.network, [Cell(source.id, 0)])
    assert found is not None
    return _transfer(context, lease, onto, target, found, before_long_work=lambda: None)


def forget_ceilings(workshop) -> None:
    """So that they are measured again, and not read from another cell."""
    with workshop.sessions.begin() as session:
        session.execute(update(TransferRow).values(floor_fooled=None, ceiling_fooled=None))


def test_a_worker_that_is_stopped_gives_its_lease_back_within_a_cell(measured):
    context, onto, source = measured.start(), subject_of(measured, 32), subject_of(measured, 24).network
    whole = measure_cell(context, onto, source)
    with measured.sessions() as session:
        row = session.scalars(
            select(TransferRow).where(TransferRow.source_id == source.id, TransferRow.rung == 0)
        ).one()
    assert (int(whole.fooled.sum()), whole.common) == (row.n_fooled, row.common)
    context.stopping.set()
    with pytest.raises(StoppingError):
        measure_cell(context, onto, source)


def test_a_ceiling_is_of_the_source_s_own_path(measured):
    context, onto, source = measured.start(), subject_of(measured, 32), subject_of(measured, 24).network
    forget_ceilings(measured)
    before = measure_cell(context, onto, source)
    assert before.ceiling_fooled is not None
    with measured.sessions.begin() as session:
        of_source = EvaluationRow.network_id == source.id
        session.execute(update(EvaluationRow).where(of_source).values(numeric_path="another"))
    # another path, and the same clean bits: it may go on
    assert (measure_cell(context, onto, source).ceiling_fooled == before.ceiling_fooled).all()
    with measured.sessions.begin() as session:
        correct = func.overlay(EvaluationRow.correct, b"\0\0", 1)
        session.execute(update(EvaluationRow).where(of_source).values(correct=correct))
    with pytest.raises(UnavailableError, match="they differ on"):
        measure_cell(context, onto, source)


def test_another_path_of_gradients_is_no_other_path_of_clean_bits(measured, monkeypatch):
    context, onto = measured.start(), subject_of(measured, 32)
    with measured.sessions.begin() as session:
        smaller = func.replace(EvaluationRow.numeric_path, "batch=64", "batch=64/16")
        session.execute(update(EvaluationRow).values(numeric_path=smaller))
    monkeypatch.setattr(measure, "evaluate", lambda *_, **__: pytest.fail("the rung was evaluated once more"))
    assert _load_target(context, lease_on(context, onto), onto, 0).correct.any()


def test_what_fits_is_known_from_what_was_recorded_on_such_a_device(measured):
    onto = subject_of(measured, 32)
    assert load_classifier(measured.start(), onto.network, onto.image_set).batch == Batch(64, 64, 64)
    with measured.sessions.begin() as session:
        smaller = func.replace(AttackRow.numeric_path, "batch=64", "batch=32/8")
        session.execute(update(AttackRow).where(AttackRow.network_id == onto.network.id).values(numeric_path=smaller))
    context = measured.start()
    assert load_classifier(context, onto.network, onto.image_set).batch == Batch(64, 32, 8)
    with measured.sessions.begin() as session:
        elsewhere = func.replace(AttackRow.numeric_path, "capability=", "capability=NO-")
        session.execute(update(AttackRow).values(numeric_path=elsewhere))
    assert load_classifier(context, onto.network, onto.image_set).batch == Batch(64, 32, 8), "found once a process"
    assert load_classifier(measured.start(), onto.network, onto.image_set).batch == Batch(64, 64, 64)


def test_images_are_made_again_in_the_batch_that_they_were_made_in(measured, monkeypatch):
    subject = subject_of(measured, 32)
    evict(measured.sessions, measured.start().store.remove, 10**9)
    with measured.sessions.begin() as session:
        of_rung = (AttackRow.network_id == subject.network.id, AttackRow.rung == 0)
        smaller = func.replace(AttackRow.numeric_path, "batch=64", "batch=64/16")
        session.execute(update(AttackRow).where(*of_rung).values(numeric_path=smaller))
        # nor does what this process has found to fit matter
        session.execute(update(AttackRow).where(AttackRow.rung == 1).values(numeric_path="batch=8 cpu"))
        attack = session.scalars(select(AttackRow).where(*of_rung)).one()
        # in smaller pieces, its pixels may be others
        session.expunge(attack)
    batches, attacked = [], measure.attack

    def spying(classifier, *arguments, **options):
        batches.append(classifier.batch)
        return attacked(classifier, *arguments, **options)

    monkeypatch.setattr(measure, "attack", spying)
    context = measured.start()
    with contextlib.suppress(OtherImagesError):
        adversarial_images(context, lease_on(context, subject), subject, attack)
    assert batches == [Batch(64, 64, 16)]
