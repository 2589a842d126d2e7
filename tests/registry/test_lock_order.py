"""Locks are taken in one order: whoever waits for a model, or an attack, holds nothing that comes after it."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select, text, update

from registry.access import LOCAL
from registry.changes import ModelChange, change_model
from registry.faults import take_over
from registry.jobs import MAX_DEATHS
from registry.models import delete_model
from registry.restoring import restore_model
from registry.results import refuse_cell, retry_measuring
from registry.storage.artifacts import ArtifactStore
from registry.tables import (
    AttackRow,
    JobKind,
    JobRow,
    JobState,
    Lane,
    ModelRow,
    ModelState,
    NameRow,
    RefusalRow,
    TransferRow,
)
from registry.upkeep.removal import remove_model
from registry.versions import raise_all_versions
from tests.registry.measured import add_measured


@pytest.fixture
def zoo(small, tmp_path):
    """Three measured networks."""
    return add_measured(small, ArtifactStore(str(tmp_path / "artifacts"), tmp_path / "cache"), "a", "b", "c")


@contextmanager
def waiting(small, act: Callable[[], object]) -> Iterator[None]:
    """The block runs while `act`, in a thread, waits for a lock of the caller's; then it must end well."""
    errors: list[Exception] = []

    def run() -> None:
        try:
            act()
        except Exception as error:  # noqa: BLE001  whatever it is, the test says so
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    deadline = time.monotonic() + 10
    blocked = text("select count(*) from pg_locks where not granted and transactionid is not null")
    with small.sessions() as session:
        while not session.scalar(blocked):
            assert time.monotonic() < deadline
            assert thread.is_alive(), errors
            time.sleep(0.02)
            session.rollback()
    yield
    thread.join(timeout=20)
    assert not thread.is_alive()
    assert errors == []


def test_a_change_of_a_model_locks_its_namesakes_before_comparisons(small, zoo):
    with small.sessions.begin() as session:
        first = session.scalars(select(ModelRow).where(ModelRow.network_id == zoo[0])).one()
        twin = ModelRow(
            task_id=first.task_id, network_id=zoo[0], source=first.source, declaration={}, checkpoint=first.checkpoint,
            content_sha256=first.content_sha256, state=ModelState.READY,
        )  # fmt: skip
        session.add(twin)
        session.flush()
        session.add(NameRow(name="twin", model_id=twin.id))
        twin_id = twin.id

    def change() -> None:
        with small.sessions.begin() as session:
            change_model(session, "a", ModelChange(last_rung=0), actor=LOCAL, seen=None)

    other = small.sessions()
    other.get_one(ModelRow, twin_id, with_for_update=True)
    with waiting(small, change):
        raise_without_waiting(other)
    with small.sessions() as session:
        assert session.get_one(ModelRow, twin_id).last_rung == 1


def test_two_jobs_that_are_given_up_together_lock_their_models_before_comparisons(small, zoo):
    with small.sessions.begin() as session:
        for network in zoo[:2]:
            session.add(
                JobRow(
                    kind=JobKind.EVALUATE, lane=Lane.COMPUTE, network_id=network, comparison_id=small.comparison_id,
                    priority=1, state=JobState.RUNNING, attempt=MAX_DEATHS, worker_id=small.worker_id,
                    lease_until=datetime.now(UTC) - timedelta(minutes=5),
                )
            )  # fmt: skip

    def reconcile() -> None:
        with small.sessions.begin() as session:
            assert take_over(session, 0.0) == 2

    other = small.sessions()
    other.scalars(select(ModelRow).where(ModelRow.network_id == zoo[1]).with_for_update()).one()
    with waiting(small, reconcile):
        raise_without_waiting(other)
    with small.sessions() as session:
        failed = session.scalars(select(ModelRow.network_id).where(ModelRow.state == ModelState.FAILED)).all()
    assert sorted(failed) == zoo[:2]


def test_a_removal_locks_attacks_before_their_cells(small, zoo):
    with small.sessions.begin() as session:
        model_id = session.scalars(select(ModelRow.id).where(ModelRow.network_id == zoo[0])).one()
        session.execute(
            update(ModelRow)
            .where(ModelRow.id == model_id)
            .values(deleted_at=datetime.now(UTC) - timedelta(days=9), deleted_name="a")
        )
    recording = small.sessions()
    recording.scalars(select(AttackRow).where(AttackRow.network_id == zoo[0]).with_for_update(read=True)).all()
    with waiting(small, lambda: remove_model(small.sessions, model_id, 0.0)):
        cells = select(TransferRow).where(TransferRow.source_id == zoo[0]).with_for_update(nowait=True)
        assert len(recording.scalars(cells).all()) == 2
        recording.commit()
        recording.close()


def test_a_restoration_locks_jobs_before_the_model(small, zoo):
    with small.sessions.begin() as session:
        delete_model(session, "a", actor=LOCAL, seen=None)

    def restore() -> None:
        with small.sessions.begin() as session:
            assert restore_model(session, "a", actor=LOCAL) == "a"

    worker = small.sessions()
    hold_jobs_of(worker, zoo[0])
    with waiting(small, restore):
        # as a worker that fails its network
        worker.scalars(select(ModelRow).where(ModelRow.network_id == zoo[0]).with_for_update(nowait=True)).one()
        raise_without_waiting(worker)


def test_a_retry_locks_jobs_in_their_order_before_refusals(small, zoo):
    first, second, third = zoo
    ids = {network: add_job(small, network, JobState.FAILED if network == third else JobState.IDLE) for network in zoo}
    with small.sessions.begin() as session:
        for source, target in ((third, first), (first, third), (third, second)):
            refuse_cell(session, small.comparison_id, target, source, rung=0, reason="NaN")

    def retry() -> None:
        with small.sessions.begin() as session:
            assert retry_measuring(session, third)

    worker = small.sessions()
    worker.get_one(JobRow, ids[first], with_for_update=True)
    with waiting(small, retry):
        for network in (second, third):
            worker.get_one(JobRow, ids[network], with_for_update={"nowait": True})
        worker.scalars(select(RefusalRow).with_for_update(nowait=True)).all()
        raise_without_waiting(worker)
    with small.sessions() as session:
        assert session.scalars(select(RefusalRow)).all() == []
        queued = session.scalars(select(JobRow.network_id).where(JobRow.state == JobState.QUEUED).order_by(JobRow.id))
        assert queued.all() == zoo


def add_job(small, network: int, state: JobState) -> int:
    with small.sessions.begin() as session:
        job = JobRow(
            kind=JobKind.TRANSFERS, lane=Lane.COMPUTE, network_id=network, comparison_id=small.comparison_id,
            priority=30, state=state, failure="NaN" if state is JobState.FAILED else None,
        )  # fmt: skip
        session.add(job)
        session.flush()
        return job.id


def hold_jobs_of(session, network: int) -> None:
    """Lock the network's last job, as its worker does; every network gets one."""
    job = JobRow(
        kind=JobKind.EVALUATE, lane=Lane.COMPUTE, network_id=network, comparison_id=1, priority=10, state=JobState.IDLE
    )
    session.add(job)
    session.commit()
    session.get_one(JobRow, job.id, with_for_update=True)


def raise_without_waiting(session) -> None:
    """As any recording does last."""
    session.execute(text("set local lock_timeout = '500ms'"))
    raise_all_versions(session)
    session.commit()
    session.close()
