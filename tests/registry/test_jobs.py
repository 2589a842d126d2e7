"""Jobs are claimed once, kept by a lease, fenced off when lost, and never miss a wake-up."""

import threading
import time

import pytest
from sqlalchemy import func, select, text, update
from sqlalchemy.exc import DBAPIError

from registry.access import LOCAL
from registry.database import make_engine, make_sessions, transaction
from registry.faults import give_up, take_over, try_again
from registry.jobs import (
    MAX_DEATHS,
    MAX_ERRORS,
    LostLeaseError,
    fence_off,
    finish,
    finish_with,
    give_back,
    hold,
    lanes_with_work,
    more_urgent_waits,
    note_cell,
    renew,
)
from registry.models import retry_model
from registry.results import retry_measuring
from registry.tables import (
    ComparisonRow,
    ComparisonState,
    JobKind,
    JobRow,
    JobState,
    Lane,
    ModelRow,
    ModelState,
    ProtocolRow,
    RefusalRow,
)
from registry.wanting import want, want_of_networks


def want_one(small, kind=JobKind.ATTACK, network_id=None, rung=0):
    with small.sessions.begin() as session:
        want(session, kind, network_id=network_id, comparison_id=small.comparison_id, rung=rung)


def the_job(small):
    with small.sessions() as session:
        return session.scalars(select(JobRow)).one()


def test_work_wanted_twice_is_one_row_and_one_claim(small):
    network = small.add_network("a")
    want_one(small, network_id=network)
    want_one(small, network_id=network)
    assert small.claim() is not None
    assert small.claim() is None
    assert the_job(small).wanted == 2


def test_work_wanted_while_the_job_runs_queues_it_again(small):
    """The first lost update: the running worker has read its sources, and new work meets the running row."""
    network = small.add_network("a")
    want_one(small, network_id=network)
    claimed = small.claim()
    want_one(small, network_id=network)
    assert small.claim() is None
    with small.sessions.begin() as session:
        finish(session, claimed)
    assert the_job(small).state is JobState.QUEUED
    with small.sessions.begin() as session:
        finish(session, small.claim())
    assert the_job(small).state is JobState.IDLE


def test_the_most_urgent_job_goes_first(small):
    first, second = small.add_network("a"), small.add_network("b")
    want_one(small, JobKind.TRANSFERS, first)
    want_one(small, JobKind.ATTACK, second, rung=1)
    want_one(small, JobKind.ATTACK, first)
    order = []
    while (claimed := small.claim()) is not None:
        order.append((claimed.kind, claimed.network_id))
    assert order == [(JobKind.ATTACK, first), (JobKind.TRANSFERS, first), (JobKind.ATTACK, second)]


def test_a_later_rung_waits_behind_every_first_one(small):
    network, other = small.add_network("a"), small.add_network("b")
    want_one(small, JobKind.ATTACK, network)
    claimed = small.claim()
    with small.sessions.begin() as session:
        hold(session, claimed)
        finish_with(session, claimed, 1)
    want_one(small, JobKind.TRANSFERS, other)
    claimed = small.claim()
    assert (claimed.kind, claimed.network_id) == (JobKind.TRANSFERS, other)
    with small.sessions.begin() as session:
        assert not more_urgent_waits(session, claimed)
    want_one(small, JobKind.ATTACK, other)
    with small.sessions.begin() as session:
        assert more_urgent_waits(session, claimed)


def test_two_workers_never_claim_the_same_job(small):
    networks = [small.add_network(f"n{i}") for i in range(20)]
    for network in networks:
        want_one(small, network_id=network)
    taken, barrier = [], threading.Barrier(4)

    def take():
        barrier.wait()
        while (claimed := small.claim()) is not None:
            taken.append(claimed.network_id)

    threads = [threading.Thread(target=take) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(taken) == networks


def test_an_expired_lease_is_taken_over_and_its_holder_fenced_off(small):
    network = small.add_network("a")
    want_one(small, network_id=network)
    slow = small.claim(lease_seconds=0.05)
    time.sleep(0.1)
    with small.sessions.begin() as session:
        assert take_over(session, 0) == 0
    fast = small.claim()
    assert fast.fence > slow.fence
    for act in (hold, finish, lambda s, c: renew(s, c, 15, None)):
        with pytest.raises(LostLeaseError), small.sessions.begin() as session:
            act(session, slow)
    with small.sessions.begin() as session:
        finish(session, fast)


def test_a_lease_that_expired_but_was_not_taken_over_is_still_lost_once_queued(small):
    network = small.add_network("a")
    want_one(small, network_id=network)
    slow = small.claim(lease_seconds=0.05)
    time.sleep(0.1)
    with small.sessions.begin() as session:
        take_over(session, 0)
    with pytest.raises(LostLeaseError), small.sessions.begin() as session:
        hold(session, slow)


def test_no_lease_is_lost_because_the_database_was_down(small):
    """Nobody could renew it: after the database's start, workers have a lease's time."""
    network = small.add_network("a")
    want_one(small, network_id=network)
    claimed = small.claim(lease_seconds=0.01)
    time.sleep(0.05)
    with small.sessions.begin() as session:
        take_over(session, 1e6)
    with small.sessions.begin() as session:
        finish(session, claimed)


def test_a_renewed_lease_is_not_taken_over(small):
    network = small.add_network("a")
    want_one(small, network_id=network)
    claimed = small.claim(lease_seconds=0.05)
    with small.sessions.begin() as session:
        renew(session, claimed, 15, 0.5)
    time.sleep(0.1)
    with small.sessions.begin() as session:
        take_over(session, 0)
    job = the_job(small)
    assert (job.state, job.progress) == (JobState.RUNNING, 0.5)


def test_a_job_that_kills_its_workers_is_given_up_and_its_models_say_why(small):
    network = small.add_network("a")
    want_one(small, JobKind.EVALUATE, network_id=network)
    die(small, MAX_DEATHS)
    assert the_job(small).state is JobState.FAILED
    with small.sessions() as session:
        model = session.scalars(select(ModelRow)).one()
    assert model.state is ModelState.FAILED
    assert f"died {MAX_DEATHS} times" in model.failure


def test_a_failure_is_tried_again_later_and_then_given_up(small):
    network = small.add_network("a")
    want_one(small, network_id=network)
    for attempt in range(1, MAX_ERRORS + 1):
        with small.sessions.begin() as session:
            session.execute(update(JobRow).values(not_before=None))
        claimed = small.claim()
        assert claimed.attempt == attempt
        with small.sessions.begin() as session:
            try_again(session, claimed, "it broke")
    job = the_job(small)
    assert (job.state, job.failure) == (JobState.FAILED, "it broke (after 3 attempts)")


def test_deaths_and_errors_are_counted_apart(small):
    """Two killed workers and one error are neither three errors nor five deaths."""
    network = small.add_network("a")
    want_one(small, network_id=network)
    die(small, MAX_ERRORS - 1)
    with small.sessions.begin() as session:
        session.execute(update(JobRow).values(not_before=None))
    with small.sessions.begin() as session:
        try_again(session, small.claim(), "it broke")
    job = the_job(small)
    assert (job.state, job.attempt, job.errors) == (JobState.QUEUED, MAX_ERRORS, 1)
    die(small, MAX_DEATHS - MAX_ERRORS)
    assert the_job(small).state is JobState.QUEUED
    die(small, 1)
    assert the_job(small).failure == f"the worker died {MAX_DEATHS} times during this work (attack)"


def die(small, times):
    """Let workers claim the job and fall silent."""
    for _ in range(times):
        with small.sessions.begin() as session:
            session.execute(update(JobRow).values(not_before=None))
        assert small.claim(lease_seconds=0.01) is not None
        time.sleep(0.05)
        with small.sessions.begin() as session:
            take_over(session, 0)


def test_a_cell_that_kills_its_workers_is_refused_and_the_others_go_on(small):
    source, target = small.add_network("source"), small.add_network("target")
    want_one(small, JobKind.TRANSFERS, target)
    die(small, 1)
    for _ in range(MAX_DEATHS - 1):
        with small.sessions.begin() as session:
            session.execute(update(JobRow).values(not_before=None))
        claimed = small.claim(lease_seconds=0.3)
        with small.sessions.begin() as session:
            note_cell(session, claimed, source, 0)
        time.sleep(0.35)
        with small.sessions.begin() as session:
            given_up = take_over(session, 0)
    assert given_up == 0
    job = the_job(small)
    assert (job.state, job.attempt, job.errors, job.at_source) == (JobState.QUEUED, 0, 0, None)
    with small.sessions() as session:
        refusal = session.scalars(select(RefusalRow)).one()
    assert (refusal.source_id, refusal.target_id, refusal.rung) == (source, target, 0)
    assert refusal.reason == f"the worker died {MAX_DEATHS} times during this work (transfers)"


def test_a_cell_whose_code_raises_each_time_is_refused(small):
    source, target = small.add_network("source"), small.add_network("target")
    want_one(small, JobKind.TRANSFERS, target)
    for _ in range(MAX_ERRORS):
        with small.sessions.begin() as session:
            session.execute(update(JobRow).values(not_before=None))
        claimed = small.claim()
        with small.sessions.begin() as session:
            note_cell(session, claimed, source, 1)
        with small.sessions.begin() as session:
            try_again(session, claimed, "it broke")
    assert the_job(small).state is JobState.QUEUED
    with small.sessions() as session:
        refusal = session.scalars(select(RefusalRow)).one()
    assert (refusal.source_id, refusal.rung, refusal.reason) == (source, 1, "it broke (after 3 attempts)")


def test_a_failure_between_cells_is_the_targets(small):
    """What an earlier attempt was at says nothing of a later one."""
    source, target = small.add_network("source"), small.add_network("target")
    want_one(small, JobKind.TRANSFERS, target)
    claimed = small.claim()
    with small.sessions.begin() as session:
        note_cell(session, claimed, source, 0)
    with small.sessions.begin() as session:
        try_again(session, claimed, "it broke")
    with small.sessions.begin() as session:
        give_up(session, small.claim(), "it cannot be loaded")
    assert (the_job(small).state, the_job(small).failure) == (JobState.FAILED, "it cannot be loaded")


def test_waiting_begins_anew_when_work_goes_back_to_the_queue(small):
    network = small.add_network("a")
    want_one(small, network_id=network)
    with small.sessions.begin() as session:
        session.execute(update(JobRow).values(queued_at=func.now() - text("interval '5 hours'")))
    with small.sessions.begin() as session:
        give_back(session, small.claim())
    with small.sessions() as session:
        assert session.scalars(select(JobRow.queued_at > func.now() - text("interval '1 minute'"))).one()


def test_an_attack_that_fails_is_that_comparisons_matter_alone(small):
    network = small.add_network("a")
    want_one(small, network_id=network)
    with small.sessions.begin() as session:
        give_up(session, small.claim(), "only for transformers")
    assert (the_job(small).state, the_job(small).failure) == (JobState.FAILED, "only for transformers")
    with small.sessions() as session:
        assert session.scalars(select(ModelRow)).one().state is ModelState.READY
    with small.sessions.begin() as session:
        assert retry_model(session, "a", actor=LOCAL) == "a"
    assert (the_job(small).state, the_job(small).failure) == (JobState.QUEUED, None)


def test_work_given_back_with_a_reason_waits_and_says_why(small):
    network = small.add_network("a")
    want_one(small, network_id=network)
    with small.sessions.begin() as session:
        give_back(session, small.claim(), reason="the artifact store does not answer")
    assert small.claim() is None
    job = the_job(small)
    assert (job.state, job.attempt, job.failure) == (JobState.QUEUED, 0, "the artifact store does not answer")
    with small.sessions.begin() as session:
        session.execute(update(JobRow).values(not_before=None))
    with small.sessions.begin() as session:
        finish(session, small.claim())
    assert the_job(small).failure is None


def test_later_work_of_the_second_rung_does_not_jump_the_queue(small):
    network = small.add_network("a")
    want_one(small, JobKind.TRANSFERS, network)
    claimed = small.claim()
    want_one(small, JobKind.TRANSFERS, network, rung=1)
    with small.sessions.begin() as session:
        hold(session, claimed)
        finish_with(session, claimed, 1)
    assert (the_job(small).state, the_job(small).priority) == (JobState.QUEUED, 69)


def test_work_given_back_costs_no_attempt(small):
    network = small.add_network("a")
    want_one(small, network_id=network)
    for _ in range(MAX_ERRORS + 2):
        claimed = small.claim()
        assert claimed.attempt == 1
        with small.sessions.begin() as session:
            give_back(session, claimed)


def test_new_work_revives_a_failed_job(small):
    network = small.add_network("a")
    want_one(small, network_id=network)
    claimed = small.claim()
    with small.sessions.begin() as session:
        give_up(session, claimed, "no")
    assert small.claim() is None
    want_one(small, network_id=network)
    assert small.claim().attempt == 1


def test_a_newcomer_does_not_revive_what_failed(small):
    """What killed five workers would kill five more with each registration; a retry is what revives it."""
    target, source = small.add_network("a"), small.add_network("newcomer")
    want_one(small, JobKind.TRANSFERS, target)
    with small.sessions.begin() as session:
        give_up(session, small.claim(), "no")
    with small.sessions.begin() as session:
        want_of_networks(session, JobKind.TRANSFERS, {target: 30}, small.comparison_id, source_id=source)
    assert small.claim() is None
    assert the_job(small).failure == "no"
    with small.sessions.begin() as session:
        assert retry_measuring(session, target)
    assert small.claim().attempt == 1


def test_an_evaluation_that_fails_in_one_comparison_leaves_the_others(small):
    """Only a network that can be evaluated nowhere is a failed one."""
    network = small.add_network("a")
    with small.sessions.begin() as session:
        second = ComparisonRow(
            image_set_id=small.image_set_id, state=ComparisonState.MEASURING,
            protocol_id=session.scalars(select(ProtocolRow.id).where(ProtocolRow.name == "pgd-paper")).one(),
        )  # fmt: skip
        session.add(second)
        session.flush()
        for comparison_id in (small.comparison_id, second.id):
            want(session, JobKind.EVALUATE, network_id=network, comparison_id=comparison_id)
    for expected in (ModelState.READY, ModelState.FAILED):
        claimed = small.claim()
        with small.sessions.begin() as session:
            give_up(session, claimed, "it answers NaN")
        with small.sessions() as session:
            assert session.scalars(select(ModelRow.state)).one() is expected
            assert session.get_one(JobRow, claimed.job_id).state is JobState.FAILED


def test_a_paused_comparison_keeps_its_jobs_waiting(small):
    network = small.add_network("a")
    want_one(small, network_id=network)
    with small.sessions.begin() as session:
        session.execute(update(ComparisonRow).values(state=ComparisonState.PAUSED))
    assert small.claim() is None
    with small.sessions.begin() as session:
        assert lanes_with_work(session) == []
        session.execute(update(ComparisonRow).values(state=ComparisonState.MEASURING))
    assert small.claim() is not None


def test_fencing_off_stops_the_running_and_the_queued(small):
    network = small.add_network("a")
    want_one(small, JobKind.ATTACK, network)
    want_one(small, JobKind.TRANSFERS, network)
    claimed = small.claim()
    with small.sessions.begin() as session:
        fence_off(session, network_id=network)
    assert small.claim() is None
    with pytest.raises(LostLeaseError), small.sessions.begin() as session:
        hold(session, claimed)


def test_lanes_are_rung_for_after_the_commit_and_not_after_a_rollback(small):
    network, rung = small.add_network("a"), []
    with transaction(small.sessions, rung.append) as session:
        want(session, JobKind.ATTACK, network_id=network, comparison_id=small.comparison_id)
        want(session, JobKind.TRANSFERS, network_id=network, comparison_id=small.comparison_id)
        assert rung == []
    assert rung == [Lane.COMPUTE]
    with pytest.raises(ZeroDivisionError), transaction(small.sessions, rung.append) as session:
        want(session, JobKind.ANALYSE, comparison_id=small.comparison_id)
        _ = 1 / 0
    assert rung == [Lane.COMPUTE]


def test_a_worker_that_freezes_in_a_transaction_holds_its_locks_for_a_while_only(small, database_url):
    network = small.add_network("a")
    want_one(small, network_id=network)
    claimed = small.claim()
    engine = make_engine(database_url, idle_seconds=0.5)
    with make_sessions(engine)() as frozen:
        hold(frozen, claimed)
        with small.sessions.begin() as session:
            hold(session, claimed)
        with pytest.raises(DBAPIError, match="idle-in-transaction"):
            frozen.execute(select(1))
    engine.dispose()
