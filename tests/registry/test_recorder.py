"""Quick cells are recorded a few together; however a job ends, what was measured is recorded."""

import time

import numpy as np
import pytest
from sqlalchemy import func, select, text, update

from registry.jobs import LostLeaseError, fence_off, finish_with
from registry.meetings import want_meetings
from registry.pending import Cell
from registry.results import AttackRecord, TransferRecord, record_attack
from registry.tables import ArtifactRow, JobKind, JobRow, JobState, TransferRow
from registry.wanting import PRIORITY, want, want_of_networks
from worker import recorder as module
from worker.context import StoppingError
from worker.recorder import recording
from worker.tasks.transfers import priority_after

N = 16
HOUR = text("interval '1 hour'")
AS_URGENT = PRIORITY[JobKind.TRANSFERS, 0]  # what comes next is what the claim is for


@pytest.fixture
def onto(small):
    """A claim of transfers onto a target that six sources wait for, and the sources."""
    target, *sources = (small.add_network(name) for name in "abcdefg")
    for source in sources:
        with small.sessions.begin() as session:
            want(session, JobKind.ATTACK, network_id=source, comparison_id=small.comparison_id)
        claimed = small.claim_of(JobKind.ATTACK, source)
        with small.sessions.begin() as session:
            images = session.scalars(select(ArtifactRow.sha256)).first()
            nothing = np.zeros(N, dtype=bool)
            attack = AttackRecord(
                rung=0, attacked=N, fooled=~nothing, noise_fooled=nothing, images=images, numeric_path="test"
            )
            record_attack(session, claimed, attack)
        with small.sessions.begin() as session:
            want_meetings(session, claimed, small.image_set(session))
    return small.claim_of(JobKind.TRANSFERS, target), sources


def cell(source):
    return TransferRecord(
        source_id=source, rung=0, common=N, fooled=np.ones(N, dtype=bool), floor_fooled=None, ceiling_fooled=None,
        numeric_path="test",
    )  # fmt: skip


def recorded(small):
    with small.sessions() as session:
        return session.scalars(select(func.count()).select_from(TransferRow)).one()


def start(small, claimed, *, seconds=60):
    return recording(small.sessions, lambda _lane: None, claimed, seconds)


def test_quick_cells_wait_for_one_another(small, onto):
    claimed, sources = onto
    with start(small, claimed) as recorder:
        for source in sources:
            assert not recorder.add(cell(source), AS_URGENT)
        assert recorded(small) == 0
    assert recorded(small) == len(sources)


def test_no_more_than_so_many_wait(small, onto, monkeypatch):
    monkeypatch.setattr(module, "TOGETHER_CELLS", 2)
    claimed, sources = onto
    with start(small, claimed) as recorder:
        counts = []
        for source in sources:
            recorder.add(cell(source), AS_URGENT)
            counts.append(recorded(small))
    assert counts == [0, 2, 2, 4, 4, 6]


def test_a_cell_that_took_long_is_recorded_at_once(small, onto):
    claimed, sources = onto
    with start(small, claimed, seconds=0.01) as recorder:
        for done, source in enumerate(sources, 1):
            time.sleep(0.02)
            recorder.add(cell(source), AS_URGENT)
            assert recorded(small) == done


def test_what_was_measured_before_an_error_is_recorded(small, onto):
    claimed, sources = onto
    with pytest.raises(StoppingError), start(small, claimed) as recorder:
        recorder.add(cell(sources[0]), AS_URGENT)
        raise StoppingError
    assert recorded(small) == 1


def test_nothing_that_waits_is_recorded_under_a_lost_fence(small, onto):
    claimed, sources = onto

    def record_after_the_fence():
        with start(small, claimed) as recorder:
            recorder.add(cell(sources[0]), AS_URGENT)
            with small.sessions.begin() as session:
                fence_off(session, network_id=claimed.network_id)

    with pytest.raises(LostLeaseError):
        record_after_the_fence()
    assert recorded(small) == 0


def test_more_urgent_work_is_told_of(small, onto):
    claimed, sources = onto
    newcomer = small.add_network("new", evaluated=False)
    with start(small, claimed, seconds=0) as recorder:
        assert not recorder.add(cell(sources[0]), AS_URGENT)
        with small.sessions.begin() as session:
            want(session, JobKind.EVALUATE, network_id=newcomer, comparison_id=small.comparison_id)
        assert recorder.add(cell(sources[1]), AS_URGENT)


def test_a_nearer_pair_of_another_target_goes_before_a_far_cell(small, onto):
    claimed, sources = onto
    other = small.add_network("other")
    with small.sessions.begin() as session:
        want_of_networks(session, JobKind.TRANSFERS, {other: 62}, small.comparison_id, source_id=sources[0])
        # what the onto fixture left queued is no part of this
        session.execute(update(JobRow).where(JobRow.network_id != other).values(not_before=func.now() + HOUR))
    with start(small, claimed, seconds=0) as recorder:
        assert not recorder.add(cell(sources[0]), 62)
        assert recorder.add(cell(sources[1]), 63)


def test_a_target_gives_way_to_what_is_two_levels_nearer_than_its_next_cell():
    cells = [Cell(1, 1, 1.0), Cell(2, 1, 0.5), Cell(3, 1, 0.0)]
    assert [priority_after(cells, done) for done in range(3)] == [63, 68, None]
    assert priority_after([Cell(1, 0), Cell(2, 0)], 0) == 29


def test_the_last_cell_and_the_end_of_its_job_are_one_transaction(small, onto):
    claimed, sources = onto
    with start(small, claimed, seconds=0) as recorder:
        assert not recorder.add(cell(sources[0]), None)
        assert recorded(small) == 0
        with recorder.recorded() as (session, _):
            finish_with(session, claimed, None)
            assert recorded(small) == 0
        assert recorded(small) == 1
    with small.sessions() as session:
        assert session.get_one(JobRow, claimed.job_id).state == JobState.IDLE


def test_an_end_that_fails_loses_no_cell(small, onto):
    claimed, sources = onto

    def end_and_fail():
        with start(small, claimed) as recorder:
            recorder.add(cell(sources[0]), None)
            with recorder.recorded() as (session, _):
                finish_with(session, claimed, None)
                raise StoppingError

    with pytest.raises(StoppingError):
        end_and_fail()
    assert recorded(small) == 1
    with small.sessions() as session:
        assert session.get_one(JobRow, claimed.job_id).state == JobState.RUNNING


def test_what_asks_while_cells_are_measured_is_seen_as_the_job_ends(small, onto):
    claimed, sources = onto
    target = {claimed.network_id: AS_URGENT}
    with small.sessions.begin() as session:
        finish_with(session, claimed, None)
        want_of_networks(session, JobKind.TRANSFERS, target, small.comparison_id, source_id=sources[0])
    claimed = small.claim_of(JobKind.TRANSFERS, claimed.network_id)
    with small.sessions.begin() as session:
        want_of_networks(session, JobKind.TRANSFERS, target, small.comparison_id, source_id=sources[1])
    with start(small, claimed) as recorder:
        with recorder.recorded() as (_, asked):
            assert asked == sources[:2]
        recorder.add(cell(sources[0]), None)
        with recorder.recorded() as (_, asked):
            assert asked == sources[:2]
    assert claimed.sources == sources[:1]
