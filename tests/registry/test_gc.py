"""Garbage is what nothing refers to; it goes, and nothing else does, whatever happens meanwhile."""

import threading
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import func, select, text, update
from sqlalchemy.exc import IntegrityError

from registry.reads.gauges import read_gauges
from registry.settings import Settings
from registry.storage.artifacts import ArtifactStore
from registry.tables import (
    AnalysisKind,
    AnalysisRow,
    ArtifactRow,
    ArtifactState,
    EvaluationRow,
    IdempotencyRow,
    JobKind,
    JobRow,
    JobState,
    Lane,
    ModelRow,
    NetworkRow,
    PairRow,
    TransferRow,
    UploadRow,
    WorkerRow,
)
from registry.upkeep.gc import NOTHING_KEPT, Retention, preview, retention_of, sweep
from registry.upkeep.orphans import OrphanKind, find_orphans
from tests.registry.measured import add_attack, add_measured, put

KEPT = Retention()


@pytest.fixture
def store(tmp_path):
    return ArtifactStore(str(tmp_path / "artifacts"), tmp_path / "cache")


@pytest.fixture
def zoo(small, store):
    """Three networks with all attacks and pairs of rung 0."""
    return add_measured(small, store, "a", "b", "c")


def age_artifacts(sessions) -> None:
    with sessions.begin() as session:
        session.execute(update(ArtifactRow).values(touched_at=ArtifactRow.touched_at - timedelta(hours=2)))


def mark_deleted(sessions, network: int, days: float) -> None:
    with sessions.begin() as session:
        session.execute(
            update(ModelRow)
            .where(ModelRow.network_id == network)
            .values(deleted_at=datetime.now(UTC) - timedelta(days=days), deleted_name="was")
        )


def refer(sessions, artifact, name: str) -> None:
    with sessions.begin() as session:
        session.add(UploadRow(id=name, sha256=artifact.sha256, bytes=artifact.bytes))


def condemn(sessions, artifact) -> None:
    with sessions.begin() as session:
        session.get_one(ArtifactRow, artifact.sha256).state = ArtifactState.CONDEMNED


def objects(store) -> set[str]:
    return {key for key, _, _ in store.stored_objects()}


def rows(sessions) -> set[str]:
    with sessions() as session:
        return {f"{each.hex()[:2]}/{each.hex()}" for each in session.scalars(select(ArtifactRow.sha256))}


def count(sessions, table) -> int:
    with sessions() as session:
        return session.scalars(select(func.count()).select_from(table)).one()


def test_bytes_go_when_nothing_has_referred_to_them_for_an_hour(store, sessions):
    garbage, needed = put(store, sessions, b"garbage"), put(store, sessions, b"needed")
    refer(sessions, needed, "upload")
    swept = sweep(sessions, store, KEPT)
    assert (swept.artifacts, swept.later_artifacts, swept.later_bytes) == (0, 1, 7), "it may be about to be used"
    age_artifacts(sessions)
    swept = sweep(sessions, store, KEPT)
    assert (swept.artifacts, swept.bytes, swept.later_artifacts) == (1, 7, 0)
    assert not store.holds(garbage)
    assert store.holds(needed)
    assert rows(sessions) == objects(store)


def test_a_put_takes_a_condemned_artifact_back(store, sessions):
    artifact = put(store, sessions, b"again")
    for bytes_are_gone in (False, True):
        condemn(sessions, artifact)
        if bytes_are_gone:  # a pass was killed between the bytes and the row
            store.remove(artifact.sha256)
        assert put(store, sessions, b"again") == artifact
        assert sweep(sessions, store, KEPT).artifacts == 0
        assert store.open_local(artifact.sha256).read_bytes() == b"again"


def test_what_is_referred_to_after_it_was_condemned_stays(store, sessions):
    artifact = put(store, sessions, b"late")
    condemn(sessions, artifact)
    refer(sessions, artifact, "upload")
    assert sweep(sessions, store, KEPT).artifacts == 0
    with sessions() as session:
        assert session.get_one(ArtifactRow, artifact.sha256).state is ArtifactState.STORED
    assert store.holds(artifact)


def test_a_write_that_never_ended_goes_after_a_day(store, sessions):
    with sessions.begin() as session:
        session.add(ArtifactRow(sha256=b"w" * 32, kind="test", bytes=9, state=ArtifactState.WRITING))
    age_artifacts(sessions)
    assert sweep(sessions, store, KEPT).artifacts == 0, "a large upload takes hours"
    assert sweep(sessions, store, Retention(unfinished=3600)).artifacts == 1
    assert count(sessions, ArtifactRow) == 0


def test_collecting_beside_puts_of_the_same_bytes_loses_nothing(store, sessions):
    """Law: whoever has put bytes and refers to them, finds them; and no bytes are left without a row."""
    greedy = Retention(unreferenced=0)
    stop, failures, referred = threading.Event(), [], 0

    def collect():
        while not stop.is_set():
            sweep(sessions, store, greedy)

    def use(number: int) -> None:
        nonlocal referred
        for turn in range(15):
            artifact = put(store, sessions, b"shared %d" % (turn % 3))
            name = f"{number}-{turn}"
            try:
                refer(sessions, artifact, name)
            except IntegrityError:
                continue  # collected in between: the row says so, nothing dangles
            referred += 1
            if not store.holds(artifact):
                failures.append(f"{name}: referred to, and gone")
            with sessions.begin() as session:
                session.delete(session.get_one(UploadRow, name))

    collectors = [threading.Thread(target=collect) for _ in range(2)]
    users = [threading.Thread(target=use, args=(number,)) for number in range(3)]
    for thread in (*collectors, *users):
        thread.start()
    for thread in users:
        thread.join()
    stop.set()
    for thread in collectors:
        thread.join()
    assert failures == []
    assert referred
    assert rows(sessions) == objects(store)


def test_a_deleted_model_goes_with_its_results_when_it_can_no_longer_be_restored(small, store, zoo):
    sessions = small.sessions
    mark_deleted(sessions, zoo[0], days=6)
    assert sweep(sessions, store, KEPT).models == 0
    mark_deleted(sessions, zoo[0], days=8)
    with sessions.begin() as session:
        session.add(JobRow(
            kind=JobKind.TRANSFERS, lane=Lane.COMPUTE, network_id=zoo[0], comparison_id=small.comparison_id,
            priority=1, state=JobState.IDLE,
        ))  # fmt: skip
        session.add(AnalysisRow(
            comparison_id=small.comparison_id, kind=AnalysisKind.ENSEMBLE, parameters_sha256=b"p",
            parameters={"members": zoo[:2], "candidates": zoo, "n": 2}, wanted_version=1,
        ))  # fmt: skip
    expected = preview(sessions, store, KEPT)
    swept = sweep(sessions, store, KEPT)
    assert (expected.models, expected.networks) == (swept.models, swept.networks) == (1, 1)
    # weights, checkpoint and logits are one artifact here
    assert (expected.later_artifacts, expected.later_bytes) == (swept.later_artifacts, swept.later_bytes)
    assert swept.later_artifacts == 2
    assert (count(sessions, ModelRow), count(sessions, NetworkRow), count(sessions, JobRow)) == (2, 2, 0)
    assert (count(sessions, TransferRow), count(sessions, PairRow), count(sessions, EvaluationRow)) == (2, 1, 4)
    assert count(sessions, AnalysisRow) == 0
    assert sweep(sessions, store, NOTHING_KEPT).artifacts == 2
    with sessions() as session:
        assert find_orphans(session, store) == []
    assert rows(sessions) == objects(store)


def test_a_network_that_another_model_names_stays(small, store, zoo):
    with small.sessions.begin() as session:
        model = session.scalars(select(ModelRow).where(ModelRow.network_id == zoo[0])).one()
        session.add(
            ModelRow(
                task_id=model.task_id, network_id=zoo[0], source=model.source, declaration={},
                checkpoint=model.checkpoint, content_sha256=model.content_sha256, state=model.state,
                deleted_at=datetime.now(UTC) - timedelta(days=9), deleted_name="twin",
            )
        )  # fmt: skip
    swept = sweep(small.sessions, store, NOTHING_KEPT)
    assert (swept.models, swept.networks, swept.artifacts) == (1, 0, 0)
    assert count(small.sessions, PairRow) == 3


def test_a_network_that_is_about_to_be_named_is_not_waited_for(small, store, zoo):
    """A preparation that finds the same network holds its row until it has named it."""
    mark_deleted(small.sessions, zoo[0], days=9)
    with small.sessions.begin() as preparing:
        preparing.execute(text("select id from networks where id = :id for key share"), {"id": zoo[0]})
        assert sweep(small.sessions, store, KEPT).models == 0
    assert sweep(small.sessions, store, KEPT).models == 1


def test_a_preview_changes_nothing(small, store, zoo):
    mark_deleted(small.sessions, zoo[1], days=9)
    put(store, small.sessions, b"garbage")
    before = rows(small.sessions)
    assert preview(small.sessions, store, NOTHING_KEPT).artifacts == 1
    assert rows(small.sessions) == before == objects(store)
    assert count(small.sessions, ModelRow) == 3


def test_records_of_work_go_with_age(small, store, zoo):
    long_ago = datetime.now(UTC) - timedelta(days=40)
    with small.sessions.begin() as session:
        for left_at in (None, long_ago):
            session.add(WorkerRow(
                host="gone", pid=2, lanes="light", device="none", code_version="0", torch_version="0",
                seen_at=long_ago if left_at is None else datetime.now(UTC), left_at=left_at,
            ))  # fmt: skip
        session.execute(update(WorkerRow).where(WorkerRow.id == small.worker_id).values(seen_at=long_ago))
        session.add(WorkerRow(
            host="killed", pid=3, lanes="light", device="none", code_version="0", torch_version="0", seen_at=long_ago,
            leases_lost=1,
        ))  # fmt: skip
        session.add(IdempotencyRow(caller="", key="old", request_sha256=b"r", created_at=long_ago))
        session.add(IdempotencyRow(caller="", key="new", request_sha256=b"r"))
        session.add(UploadRow(id="stopped", bytes=1, touched_at=long_ago))
        session.add(UploadRow(id="goes on", bytes=1, created_at=long_ago))
    expected, swept = preview(small.sessions, store, KEPT), sweep(small.sessions, store, KEPT)
    assert (swept.workers, swept.idempotency_keys, swept.uploads) == (2, 1, 1), "who made a result is not forgotten"
    assert (expected.workers, expected.idempotency_keys, expected.uploads) == (2, 1, 1)
    assert count(small.sessions, WorkerRow) == 2
    with small.sessions() as session:
        assert read_gauges(session).leases_lost == 1, "a counter never falls"


def test_bytes_have_a_minute_to_be_referred_to_whatever_the_operator_says(small, store, database_url, redis_url):
    eager = Settings(
        database_url=database_url, redis_url=redis_url, artifacts=str(store.spool), gc_unreferenced_seconds=0
    )
    put(store, small.sessions, b"a checkpoint whose model is about to be entered")
    assert sweep(small.sessions, store, retention_of(eager)).artifacts == 0


def test_orphans_of_each_kind_are_found(small, store, zoo):
    with small.sessions() as session:
        assert find_orphans(session, store) == []
    lost = add_attack(small, store, zoo[0], rung=1)
    store.remove(lost)
    garbage = put(store, small.sessions, b"garbage")
    unknown = put(store, small.sessions, b"unknown")
    with small.sessions.begin() as session:
        session.delete(session.get_one(ArtifactRow, unknown.sha256))
        session.execute(text("delete from transfers where source_id = :a or target_id = :a"), {"a": zoo[0]})
        session.execute(text("delete from evaluations where network_id = :c and rung = 0"), {"c": zoo[2]})
        session.execute(
            text("update models set network_id = null, state = 'received' where network_id = :b"), {"b": zoo[1]}
        )
    with small.sessions() as session:
        found = find_orphans(session, store)
    by_kind = {kind: [each.what for each in found if each.kind is kind] for kind in OrphanKind}
    assert by_kind == {
        OrphanKind.MISSING_BYTES: [f"{lost.hex()[:2]}/{lost.hex()}"],
        OrphanKind.UNREFERENCED_ARTIFACT: [garbage.sha256.hex()],
        OrphanKind.UNKNOWN_BYTES: [f"{unknown.sha256.hex()[:2]}/{unknown.sha256.hex()}"],
        OrphanKind.UNNAMED_NETWORK: [str(zoo[1])],
        OrphanKind.PAIR_WITHOUT_CELLS: [f"{small.comparison_id}/{zoo[0]}/{other}" for other in zoo[1:]],
        OrphanKind.CELL_WITHOUT_EVALUATION: [f"{small.comparison_id}/{zoo[1]}/{zoo[2]}/0"],
    }
