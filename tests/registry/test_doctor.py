"""The doctor finds each thing that is wrong, says what to do, and finds nothing in a registry that is well."""

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import delete, select, text, update

from registry.database import database_revision
from registry.errors import InvalidError
from registry.storage.artifacts import ArtifactStore, StoreLimits
from registry.tables import (
    ArtifactRow,
    ComparisonRow,
    JobKind,
    JobRow,
    JobState,
    Lane,
    ModelRow,
    PairRow,
    TransferRow,
    WorkerRow,
)
from registry.upkeep.doctor import examine
from registry.upkeep.verification import verify
from tests.registry.measured import add_measured


@pytest.fixture
def store(tmp_path):
    return ArtifactStore(str(tmp_path / "artifacts"), tmp_path / "cache")


@pytest.fixture
def zoo(small, store):
    """Three networks, of which rung 0 is measured and rung 1 attacked, with every byte in the store."""
    networks = add_measured(small, store, "a", "b", "c")
    with small.sessions.begin() as session:
        session.execute(update(ComparisonRow).values(version=1))
        # what is left is queued
        for kind in (JobKind.ATTACK, JobKind.TRANSFERS):
            for network in networks:
                session.add(a_job(small, kind, network, JobState.QUEUED))
    return networks


def a_job(small, kind, network, state, **fields):
    return JobRow(
        kind=kind, lane=Lane.COMPUTE, network_id=network, comparison_id=small.comparison_id, priority=1, state=state,
        **fields,
    )  # fmt: skip


def found(small, store, *, broker: bool = True) -> dict[str, str]:
    findings = examine(small.sessions, store, broker_answers=lambda: broker)
    assert all(each.what and each.do for each in findings)
    assert len({each.check for each in findings}) == len(findings)
    return {each.check: each.what for each in findings}


def read_everything(small, store, seconds: float = 60.0):
    findings, checked, after = [], 0, None
    while True:
        page = verify(small.sessions, store, after, page_seconds=seconds)
        findings += page.findings
        checked += page.checked
        if (after := page.next) is None:
            return findings, checked


def test_a_registry_that_is_well_has_nothing(small, store, zoo):
    assert found(small, store) == {}
    # page by page, however short the pages: 3 x weights, 3 x images, the image set, 3 pairs
    for seconds in (60.0, 0.0):
        assert read_everything(small, store, seconds) == ([], 10)


def test_what_is_outside_the_database(small, tmp_path, zoo, store):
    assert "Redis" in found(small, store, broker=False)["broker"]
    with small.sessions.begin() as session:
        head = database_revision(session)
        session.execute(text("update alembic_version set version_num = '9999'"))
    assert "9999" in found(small, store)["migrations"]
    with small.sessions.begin() as session:
        session.execute(text("update alembic_version set version_num = :head"), {"head": head})
    limits = StoreLimits(quota=1, min_free=1 << 60)
    tight = ArtifactStore(str(tmp_path / "artifacts"), tmp_path / "cache", limits)
    rooms = [each.what for each in examine(small.sessions, tight, broker_answers=lambda: True)]
    assert len(rooms) == 2
    assert "bytes left" in rooms[1]


def test_work_that_nobody_does(small, store, zoo):
    long_ago = datetime.now(UTC) - timedelta(minutes=5)
    with small.sessions.begin() as session:
        job = session.scalars(select(JobRow).where(JobRow.kind == JobKind.ATTACK)).first()
        job.state, job.lease_until = JobState.RUNNING, long_ago
    assert str(job.id) in found(small, store)["leases"]
    with small.sessions.begin() as session:
        session.execute(update(JobRow).values(state=JobState.IDLE, lease_until=None))
    forgotten = examine(small.sessions, store, broker_answers=lambda: True)
    assert [each.check for each in forgotten] == ["forgotten"], "rung 1 is attacked by nobody"
    assert "sat resume" in forgotten[0].do
    with small.sessions.begin() as session:
        session.execute(update(JobRow).values(state=JobState.QUEUED))
        session.execute(update(WorkerRow).values(seen_at=long_ago))
    assert "no worker" in found(small, store)["workers"]


def test_work_for_what_was_deleted(small, store, zoo):
    with small.sessions.begin() as session:
        session.execute(
            update(ModelRow).where(ModelRow.network_id == zoo[0]).values(deleted_at=datetime.now(UTC), deleted_name="a")
        )
    assert "2 jobs" in found(small, store)["subjects"]


def test_results_that_contradict_each_other(small, store, zoo):
    with small.sessions.begin() as session:
        session.execute(update(PairRow).where(PairRow.a_id == zoo[1]).values(version=9))
    assert "version 9" in found(small, store)["versions"]
    with small.sessions.begin() as session:
        session.execute(update(ComparisonRow).values(version=9))
        session.execute(update(PairRow).where(PairRow.a_id == zoo[1]).values(fooled_both=2))
        cell = TransferRow.source_id == zoo[0]
        session.execute(update(TransferRow).where(cell, TransferRow.target_id == zoo[1]).values(fooled=b"\xff\x00"))
    findings, _ = read_everything(small, store)
    assert sorted((each.check, str(zoo[1]) in each.what) for each in findings) == [
        ("cells", True),
        ("pairs", True),
    ], findings
    with small.sessions.begin() as session:
        session.execute(delete(TransferRow))
    assert "3 pairs" in found(small, store)["results"]


def test_bytes_that_are_missing_wrong_or_unknown(small, store, zoo):
    with small.sessions() as session:
        weights = session.scalars(select(ArtifactRow.sha256).where(ArtifactRow.kind == "test")).first()
        images = session.scalars(select(ArtifactRow.sha256).where(ArtifactRow.kind == "adversarial")).first()
    path = store.open_local(weights)
    content = path.read_bytes()
    path.write_bytes(bytes(len(content)))
    assert found(small, store) == {}, "its length is right: only reading it tells"
    findings, _ = read_everything(small, store)
    assert [each.check for each in findings] == ["hashes"]
    assert weights.hex()[:12] in findings[0].what
    store.remove(weights)
    assert weights.hex() in found(small, store)["store"]
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    store.remove(images)
    (finding,) = examine(small.sessions, store, broker_answers=lambda: True)
    assert "adversarial" in finding.what
    assert "made again" in finding.do


def test_a_cursor_that_nobody_gave_is_refused(small, store):
    for after in ("weights:1", "artifacts:zz", "pairs:1-2", "pairs:a-b-c"):
        with pytest.raises(InvalidError, match="leave it out"):
            verify(small.sessions, store, after)
