"""The checker is checked: each way in which a history can be wrong is found, and a good one passes."""

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import delete, insert, select, text, update
from sqlalchemy.orm import Session

from registry.tables import (
    ArtifactRow,
    ArtifactState,
    EvaluationRow,
    JobRow,
    JobState,
    ModelRow,
    ModelState,
    NameRow,
    PairRow,
    RefusalRow,
    TransferRow,
)
from registry.upkeep.orphans import find_orphans
from tests.faults import witness
from tests.faults.aim import freeze_at_work
from tests.faults.clients import Diary, Exchange
from tests.faults.history import (
    Measured,
    Wrong,
    check_answers,
    check_results,
    check_rows,
    read_measured,
)
from tests.faults.nemesis import PROXIED, SHARES, Fault, Kind, Nemesis, plan
from tests.faults.report import too_mild
from tests.faults.stack import POSTGRES, VALKEY, Stack


@pytest.fixture
def good(undisturbed: Any) -> Iterator[tuple[Session, Measured]]:
    """A session on a registry of three measured models, rolled back afterwards, and what it holds."""
    with undisturbed.sessions() as session:
        yield session, undisturbed.measured
        session.rollback()


def wrongs(session: Session, expected: Measured, names: tuple[str, ...] = ()) -> set[Wrong]:
    session.flush()
    session.expire_all()
    found = [*check_results(read_measured(session), expected), *check_rows(session, names)]
    return {anomaly.wrong for anomaly in found}


def first_cell(session: Session) -> dict[str, Any]:
    row = session.execute(select(TransferRow.__table__).limit(1)).one()
    return dict(row._mapping)


def of_cell(cell: dict[str, Any]) -> Any:
    return (
        (TransferRow.source_id == cell["source_id"])
        & (TransferRow.target_id == cell["target_id"])
        & (TransferRow.rung == cell["rung"])
    )


def test_a_good_history_passes(good: Any, undisturbed: Any) -> None:
    session, expected = good
    assert wrongs(session, expected, undisturbed.names) == set()
    assert len(expected.transfers) == 3 * 2 * 2
    assert len(expected.pairs) == 3
    assert any(cell[1][2] for cell in expected.transfers), "some image fools some network, or equality says little"
    assert find_orphans(session, undisturbed.store) == []


def test_a_dropped_cell_is_found(good: Any) -> None:
    session, expected = good
    session.execute(delete(TransferRow).where(of_cell(first_cell(session))))
    assert wrongs(session, expected) == {Wrong.MISSING, Wrong.MISCOUNTED}


def test_a_cell_that_is_there_twice_is_found(good: Any) -> None:
    session, expected = good
    session.execute(text("alter table transfers drop constraint pk_transfers"))
    session.execute(insert(TransferRow.__table__).values(**first_cell(session)))
    assert wrongs(session, expected) == {Wrong.DUPLICATE}


def test_a_flipped_bit_is_found(good: Any) -> None:
    session, expected = good
    cell = first_cell(session)
    flipped = bytes([cell["fooled"][0] ^ 0x80]) + cell["fooled"][1:]
    session.execute(update(TransferRow).where(of_cell(cell)).values(fooled=flipped))
    assert wrongs(session, expected) >= {Wrong.DIFFERENT, Wrong.MISCOUNTED}


@pytest.mark.parametrize("column", ["correct", "logits"])
def test_another_evaluation_is_found(good: Any, column: str) -> None:
    session, expected = good
    row = session.scalars(select(EvaluationRow).limit(1)).one()
    if column == "correct":
        row.correct = bytes([row.correct[0] ^ 1]) + row.correct[1:]
    else:
        row.logits = session.scalars(select(ArtifactRow.sha256).where(ArtifactRow.sha256 != row.logits).limit(1)).one()
    assert wrongs(session, expected) == {Wrong.DIFFERENT}


@pytest.mark.parametrize("column", ["n", "fooled_ab", "fooled_ba", "fooled_both", "rungs"])
def test_a_wrong_count_is_found(good: Any, column: str) -> None:
    session, expected = good
    pair = session.scalars(select(PairRow).limit(1)).one()
    for name in ("pairs_n", "pairs_rungs"):
        session.execute(text(f"alter table pairs drop constraint ck_{name}"))
    setattr(pair, column, getattr(pair, column) + 1)
    assert wrongs(session, expected) == {Wrong.MISCOUNTED}


def test_a_lost_pair_is_found(good: Any) -> None:
    session, expected = good
    session.delete(session.scalars(select(PairRow).limit(1)).one())
    assert wrongs(session, expected) == {Wrong.MISSING}


def test_a_lost_registration_a_failed_model_and_unfinished_work_are_found(good: Any, undisturbed: Any) -> None:
    session, expected = good
    session.execute(delete(NameRow).where(NameRow.name == undisturbed.names[0]))
    assert wrongs(session, expected, undisturbed.names) == {Wrong.LOST}
    model = session.scalars(select(ModelRow).limit(1)).one()
    model.state, model.concern, model.failure = ModelState.FAILED, None, "no"
    session.scalars(select(JobRow).limit(1)).one().state = JobState.QUEUED
    assert wrongs(session, expected) == {Wrong.FAILED, Wrong.UNFINISHED}


def test_a_refused_cell_is_found(good: Any) -> None:
    session, expected = good
    cell = {key: first_cell(session)[key] for key in ("comparison_id", "source_id", "target_id", "rung")}
    session.add(RefusalRow(**cell, reason="no"))
    assert wrongs(session, expected) == {Wrong.FAILED}


def test_orphans_are_found(good: Any, undisturbed: Any) -> None:
    session, _ = good
    session.add(ArtifactRow(sha256=b"o" * 32, kind="logits", bytes=1, state=ArtifactState.STORED))
    session.flush()
    assert [orphan.kind for orphan in find_orphans(session, undisturbed.store)] == ["unreferenced artifact"]


def test_a_result_under_a_lost_fence_is_witnessed(undisturbed: Any) -> None:
    """The witness is a trigger: it sees what happens after it was installed."""
    with undisturbed.copy() as (url, sessions):
        witness.install(url)
        with sessions.begin() as session:
            cell = first_cell(session)
            job = session.scalars(
                select(JobRow).where(JobRow.kind == "transfers", JobRow.network_id == cell["target_id"])
            ).one()
            job.state, job.worker_id, job.lease_until = JobState.RUNNING, cell["worker_id"], text("now()")
            session.flush()
            for fence in (job.fence, job.fence - 1):
                session.execute(delete(TransferRow).where(of_cell(cell)))
                session.execute(insert(TransferRow.__table__).values(**(cell | {"fence": fence})))
                session.flush()
        witnessed, lawless = witness.unlawful(url)
    assert witnessed == 2
    assert len(lawless) == 1
    assert "transfers onto network" in lawless[0]


@pytest.mark.parametrize(
    ("exchange", "complaint"),
    [
        (Exchange("GET", "/models", 200, "application/json"), None),
        (Exchange("GET", "/models", None, error="ReadError"), None),
        (Exchange("POST", "/models", 503, "application/problem+json", "1"), None),
        (Exchange("POST", "/models", 503, "application/problem+json"), "without Retry-After"),
        (Exchange("POST", "/models", 500, "application/problem+json"), "without Retry-After"),
        (Exchange("POST", "/models", 502, "text/html", "1"), "as text/html"),
        (Exchange("POST", "/models", 503), "as nothing"),
    ],
)
def test_improper_answers_are_found(exchange: Exchange, complaint: str | None) -> None:
    diary = Diary(exchanges=[exchange])
    found = [anomaly.what for anomaly in check_answers(diary)]
    assert (complaint is None) == (found == [])
    assert all(complaint in what for what in found if complaint)


def test_what_a_client_did_not_understand_is_found() -> None:
    assert [each.wrong for each in check_answers(Diary(surprises=["refused: 404"]))] == [Wrong.ANSWER]


def test_the_same_seed_gives_the_same_faults_and_every_kind_comes() -> None:
    def planned(seed: int) -> list[Any]:
        return plan(seed, 200, ("worker-1", "worker-light"), lease_seconds=3, pause=1)

    assert planned(1) == planned(1) != planned(2)
    assert {fault.kind for fault in planned(1)} == set(SHARES)


@pytest.mark.parametrize(
    ("struck", "fenced", "says"), [(200, 6, None), (183, 6, "183 of 200"), (200, 5, "only 5 results")]
)
def test_a_run_that_was_hardly_disturbed_proves_nothing(struck: int, fenced: int, says: str | None) -> None:
    summary = {"faults": struck, "faults_by_kind": {"freeze worker": 18}, "stopped_by_a_fence": fenced}
    mild = too_mild(summary, 200)
    assert mild is None if says is None else mild is not None and says in mild


def test_a_fault_that_meets_nothing_is_not_counted(tmp_path: Path) -> None:
    with Stack(tmp_path, compute_workers=1) as stack:
        assert stack.signal("worker-1", signal.SIGKILL) is None, "it was not started"
        assert [stack.proxies[name].cut() for name in PROXIED] == [0, 0, 0]
        assert freeze_at_work(stack, stack.workers, 0.1) is None
        with psycopg.connect(host="127.0.0.1", port=stack.proxies[POSTGRES].port, user="sat", dbname="sat"):
            assert stack.proxies[POSTGRES].delay(0, 0) > 0
            assert stack.proxies[POSTGRES].cut() > 0
        faults = [Fault(Kind.CUT, VALKEY, 0, 0), Fault(Kind.FLUSH_VALKEY, VALKEY, 0, 0)]
        nemesis = Nemesis(stack, faults, tmp_path / "faults.jsonl", lambda _: None)
        nemesis.start()
        nemesis.wait()
    assert (nemesis.done, nemesis.missed, nemesis.fraction()) == ([faults[1]], [faults[0]], 1.0)
