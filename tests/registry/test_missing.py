"""What no job is going to do is found, by kind, and asked for when nothing else is going on."""

import logging
import time

import numpy as np
import pytest
from sqlalchemy import delete, select, text, update

from registry.access import LOCAL
from registry.archiving import archive_model, measure_to
from registry.models import delete_model
from registry.pending import pending_cells
from registry.tables import ComparisonRow, ComparisonState, JobKind, JobRow, JobState, PairRow, RefusalRow, TransferRow
from registry.upkeep.missing import find_missing, want_missing
from tests.registry.stub_worker import measure_all, start
from worker.reconciler import reconcile
from worker.remembering import FIRST_SECONDS, Remembering

EVERYTHING = {"evaluations": 4 * 2, "attacks": 4 * 2, "transfers": 4 * 3 * 2}


def missing(small) -> dict[JobKind, list[int]]:
    with small.sessions() as session:
        return {each.kind: each.networks for each in find_missing(session)}


def forget_all_jobs(small) -> None:
    with small.sessions.begin() as session:
        session.execute(text("update jobs set state = 'idle', lease_until = null, taken = wanted, sources = '{}'"))


def recorded(small) -> dict[str, int]:
    with small.sessions() as session:
        return {
            "evaluations": session.scalar(text("select count(*) from evaluations")),
            "attacks": session.scalar(text("select count(*) from attacks")),
            "transfers": session.scalar(text("select count(*) from transfers")),
        }


@pytest.fixture
def zoo(small):
    """Four networks, all measured."""
    networks = [start(small, name) for name in "abcd"]
    measure_all(small)
    assert (missing(small), recorded(small)) == ({}, EVERYTHING)
    return networks


def heal(small) -> list[JobKind]:
    """Ask and measure until nothing is missing; the kinds that were asked for."""
    asked = []
    while True:
        with small.sessions.begin() as session:
            found = want_missing(session)
        if not found:
            return asked
        asked += [each.kind for each in found]
        measure_all(small)


@pytest.mark.parametrize("kind", [JobKind.EVALUATE, JobKind.ATTACK, JobKind.TRANSFERS])
def test_a_wake_up_that_was_lost_is_found_and_made_good(small, zoo, kind):
    with small.sessions.begin() as session:
        session.execute(delete(TransferRow).where(TransferRow.target_id == zoo[1]))
        session.execute(delete(PairRow))
        if kind is not JobKind.TRANSFERS:
            session.execute(delete(TransferRow).where(TransferRow.source_id == zoo[1]))
            session.execute(text("delete from attacks where network_id = :id"), {"id": zoo[1]})
        if kind is JobKind.EVALUATE:
            session.execute(text("delete from evaluations where network_id = :id"), {"id": zoo[1]})
    assert missing(small)[kind] == [zoo[1]]
    assert heal(small)[0] is kind
    assert recorded(small) == EVERYTHING


def test_what_a_job_will_do_or_has_failed_to_do_is_not_forgotten(small, zoo):
    with small.sessions.begin() as session:
        session.execute(delete(TransferRow).where(TransferRow.target_id == zoo[0]))
        session.execute(delete(PairRow).where(PairRow.a_id == zoo[0]))
    for state in (JobState.QUEUED, JobState.FAILED):
        with small.sessions.begin() as session:
            session.execute(
                update(JobRow)
                .where(JobRow.network_id == zoo[0], JobRow.kind == JobKind.TRANSFERS)
                .values(state=state, failure="it broke")
            )
        assert missing(small) == {}, state
    with small.sessions.begin() as session:
        session.execute(update(ComparisonRow).values(state=ComparisonState.PAUSED))
    forget_all_jobs(small)
    assert missing(small) == {}, "a paused comparison asks for nothing"


def test_nothing_is_asked_for_while_something_goes_on(small, zoo):
    with small.sessions.begin() as session:
        session.execute(delete(TransferRow).where(TransferRow.target_id == zoo[0]))
        session.execute(delete(PairRow).where(PairRow.a_id == zoo[0]))
        session.execute(update(JobRow).where(JobRow.network_id == zoo[1]).values(state=JobState.QUEUED))
        assert want_missing(session) == []
    forget_all_jobs(small)
    with small.sessions.begin() as session:
        assert [each.networks for each in want_missing(session)] == [[zoo[0]]]


@pytest.mark.parametrize("seed", range(5))
def test_it_finds_the_targets_that_the_anti_join_finds(small, zoo, seed):
    """Random holes, refusals, archived, deleted and shallow models: target by target, and all at once."""
    chance = np.random.default_rng(seed)
    with small.sessions.begin() as session:
        for cell in session.scalars(select(TransferRow)).all():
            if chance.random() < 0.2 and (cell.rung == 1 or chance.random() < 0.3):
                session.execute(
                    delete(PairRow).where(
                        PairRow.a_id == min(cell.source_id, cell.target_id),
                        PairRow.b_id == max(cell.source_id, cell.target_id),
                    )
                )
                session.delete(cell)
                if chance.random() < 0.4:
                    session.add(
                        RefusalRow(
                            comparison_id=small.comparison_id, target_id=cell.target_id, source_id=cell.source_id,
                            rung=cell.rung, reason="it broke",
                        )
                    )  # fmt: skip
    with small.sessions.begin() as session:
        if seed % 3 == 0:
            archive_model(session, "a")
        if seed % 3 == 1:
            delete_model(session, "b", actor=LOCAL)
        if seed % 2:
            measure_to(session, "c", 0)
    forget_all_jobs(small)
    with small.sessions() as session:
        image_set = small.image_set(session)
        expected = [each for each in zoo if pending_cells(session, each, small.comparison_id, image_set)]
    assert missing(small).get(JobKind.TRANSFERS, []) == expected


def test_a_worker_asks_for_what_was_forgotten_and_says_so(small, zoo, worker_context, caplog, monkeypatch):
    with small.sessions.begin() as session:
        session.execute(delete(TransferRow).where(TransferRow.target_id == zoo[2]))
        session.execute(delete(PairRow).where(PairRow.b_id == zoo[2]))
    reconcile(worker_context)
    remembering = Remembering(worker_context)
    remembering.look_when_due()
    assert measure_all(small) == 0, "not at once: a worker that starts finds much that is about to be asked for"
    clock = time.monotonic
    monkeypatch.setattr(time, "monotonic", lambda: clock() + FIRST_SECONDS + 1)
    with caplog.at_level(logging.WARNING):
        remembering.look_when_due()
    assert f"transfers of networks [{zoo[2]}]" in caplog.text
    assert measure_all(small) == 6
    assert recorded(small) == EVERYTHING
    assert not remembering.look()


def test_news_that_a_killed_worker_did_not_ask_for_are_asked_for(small, zoo, worker_context):
    def asked() -> list[JobState]:
        with small.sessions() as session:
            return list(session.scalars(select(JobRow.state).where(JobRow.kind == JobKind.NOTIFY)))

    reconcile(worker_context)
    Remembering(worker_context).look()
    assert asked() == [], "nobody wants to be told"
    with small.sessions.begin() as session:
        session.execute(
            text(
                "insert into webhooks (url, events, secret) values ('http://127.0.0.1/', '{model.measured}', 'secret')"
            )
        )
    Remembering(worker_context).look()
    assert asked() == [JobState.QUEUED]
