"""Cells are recorded once, under their claim; pairs count what both directions have."""

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from sqlalchemy import delete, func, select, text, update

from registry.faults import take_over
from registry.jobs import LostLeaseError, fence_off, finish, finish_with
from registry.meetings import want_meetings
from registry.pending import Cell, pending_attacks, pending_cells, pending_evaluations
from registry.results import AttackRecord, TransferRecord, record_attack, record_refusal, record_transfers
from registry.tables import ArtifactRow, AttackRow, ComparisonRow, JobKind, JobRow, JobState, PairRow, Part, TransferRow
from registry.wanting import want

SIZES = (16, 8)  # of rung 0 and rung 1


def some_bits(n, k, start=0):
    """Bits (n,) of which k are set from `start` on."""
    return (np.arange(n) >= start) & (np.arange(n) < start + k)


def attack_record(session, rung=0):
    n = SIZES[rung]
    images = session.scalars(select(ArtifactRow.sha256)).first()
    return AttackRecord(
        rung=rung, attacked=n, fooled=some_bits(n, n), noise_fooled=some_bits(n, 0), images=images, numeric_path="test"
    )


def attack(small, network, rung=0):
    """Record an attack of the network, under a claim of its own."""
    with small.sessions.begin() as session:
        want(session, JobKind.ATTACK, network_id=network, comparison_id=small.comparison_id)
    claimed = small.claim_of(JobKind.ATTACK, network)
    with small.sessions.begin() as session:
        record_attack(session, claimed, attack_record(session, rung))
    with small.sessions.begin() as session:
        want_meetings(session, claimed, small.image_set(session))
        finish(session, claimed)


def claim_transfers(small, target):
    with small.sessions.begin() as session:
        want(session, JobKind.TRANSFERS, network_id=target, comparison_id=small.comparison_id)
    return small.claim_of(JobKind.TRANSFERS, target)


def claim_all_transfers(small, targets):
    """A claim by target, all held at once."""
    with small.sessions.begin() as session:
        for target in targets:
            want(session, JobKind.TRANSFERS, network_id=target, comparison_id=small.comparison_id)
    claims = {}
    while (claimed := small.claim()) is not None:
        claims[claimed.network_id] = claimed
    return claims


def transfer_record(source, fooled, *, rung=0, start=0, common=None):
    n = SIZES[rung]
    return TransferRecord(
        source_id=source, rung=rung, common=n if common is None else common, fooled=some_bits(n, fooled, start),
        floor_fooled=None, ceiling_fooled=None, numeric_path="test",
    )  # fmt: skip


def record(small, claimed, *records):
    for each in records:
        with small.sessions.begin() as session:
            record_transfers(session, claimed, [each])


def pair(small):
    with small.sessions() as session:
        row = session.scalars(select(PairRow)).one()
        return (row.rungs, row.n, row.fooled_ab, row.fooled_ba, row.fooled_both)


def test_an_attack_asks_those_that_are_evaluated_for_its_row_only(small):
    a, b, c = (small.add_network(name) for name in "abc")
    small.add_network("unevaluated", evaluated=False)
    attack(small, a)
    with small.sessions() as session:
        wanted = session.execute(select(JobRow.kind, JobRow.network_id).where(JobRow.kind == JobKind.TRANSFERS)).all()
    assert sorted(wanted) == [(JobKind.TRANSFERS, b), (JobKind.TRANSFERS, c)]


def test_pending_cells_are_recorded_attacks_that_have_not_met_the_target(small):
    a, b, c = (small.add_network(name) for name in "abc")
    for source in (a, b):
        attack(small, source)
    attack(small, a, rung=1)

    def pending(target):
        with small.sessions() as session:
            return pending_cells(session, target, small.comparison_id, small.image_set(session))

    # rung 1 of a cell waits for its rung 0
    assert pending(c) == [Cell(a, 0), Cell(b, 0)]
    claimed = claim_transfers(small, c)
    record(small, claimed, transfer_record(a, 3))
    assert pending(c) == [Cell(b, 0), Cell(a, 1)]
    with small.sessions.begin() as session:
        record_refusal(session, claimed, b, 0, "the logits are not finite")
    assert pending(c) == [Cell(a, 1)]


def test_what_a_network_still_needs(small):
    network = small.add_network("a", evaluated=False)
    evaluated = small.add_network("b")
    with small.sessions() as session:
        image_set = small.image_set(session)
        assert pending_evaluations(session, network, image_set) == [(Part.ATTACK, 0), (Part.ATTACK, 1)]
        assert pending_evaluations(session, evaluated, image_set) == []
        assert pending_attacks(session, network, small.comparison_id, image_set) == []
        assert pending_attacks(session, evaluated, small.comparison_id, image_set) == [0, 1]
    attack(small, evaluated)
    with small.sessions() as session:
        assert pending_attacks(session, evaluated, small.comparison_id, small.image_set(session)) == [1]


def test_a_pair_is_one_sided_until_the_other_direction_comes(small):
    a, b = small.add_network("a"), small.add_network("b")
    attack(small, a)
    attack(small, b)
    record(small, claim_transfers(small, b), transfer_record(a, 5))
    assert pair(small) == (1, 16, 5, None, None)
    record(small, claim_transfers(small, a), transfer_record(b, 4, start=3))
    assert pair(small) == (1, 16, 5, 4, 2)


def test_a_pair_counts_the_rungs_that_both_directions_have(small):
    a, b = small.add_network("a"), small.add_network("b")
    for network in (a, b):
        attack(small, network)
        attack(small, network, rung=1)
    onto_b, onto_a = claim_transfers(small, b), claim_transfers(small, a)
    record(small, onto_b, transfer_record(a, 5), transfer_record(a, 8, rung=1))
    assert pair(small) == (2, 24, 13, None, None)
    record(small, onto_a, transfer_record(b, 4, start=3))
    assert pair(small) == (1, 16, 5, 4, 2)
    record(small, onto_a, transfer_record(b, 2, rung=1))
    assert pair(small) == (2, 24, 13, 6, 4)


def test_a_pair_without_common_images_is_recorded_as_such(small):
    a, b = small.add_network("a"), small.add_network("b")
    attack(small, a)
    attack(small, b)
    record(small, claim_transfers(small, b), transfer_record(a, 0, common=0))
    record(small, claim_transfers(small, a), transfer_record(b, 0, common=0))
    assert pair(small) == (1, 0, 0, 0, 0)


def test_a_cell_recorded_twice_counts_once_and_keeps_the_version(small):
    a, b = small.add_network("a"), small.add_network("b")
    attack(small, a)
    claimed = claim_transfers(small, b)
    record(small, claimed, transfer_record(a, 5))
    with small.sessions() as session:
        version = session.scalars(select(ComparisonRow.version)).one()
    record(small, claimed, transfer_record(a, 9))
    with small.sessions() as session:
        assert session.scalars(select(ComparisonRow.version)).one() == version
        assert session.scalars(select(func.count()).select_from(TransferRow)).one() == 1
    assert pair(small)[2] == 5


def test_every_recorded_cell_raises_the_version_and_stamps_its_pair(small):
    a, b = small.add_network("a"), small.add_network("b")
    attack(small, a)
    attack(small, b)
    for target, source in ((b, a), (a, b)):
        record(small, claim_transfers(small, target), transfer_record(source, 1))
        with small.sessions() as session:
            version = session.scalars(select(ComparisonRow.version)).one()
            assert session.scalars(select(PairRow.version)).one() == version


@pytest.mark.parametrize("repetition", range(10))
def test_two_directions_recorded_at_the_same_instant_make_a_whole_pair(small, repetition):
    """The second lost update: each transaction looks for the other's cell and neither sees it."""
    a, b = small.add_network("a"), small.add_network("b")
    attack(small, a)
    attack(small, b)
    claims = {b: claim_transfers(small, b), a: claim_transfers(small, a)}
    barrier = threading.Barrier(2)

    def go(target, source):
        with small.sessions.begin() as session:
            session.execute(select(1))
            barrier.wait()
            record_transfers(session, claims[target], [transfer_record(source, 5)])

    threads = [threading.Thread(target=go, args=pair_) for pair_ in ((b, a), (a, b))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert pair(small) == (1, 16, 5, 5, 5)


def record_together(small, claimed, *records):
    with small.sessions.begin() as session:
        record_transfers(session, claimed, records)


def pairs(small):
    with small.sessions() as session:
        rows = session.scalars(select(PairRow).order_by(PairRow.a_id, PairRow.b_id)).all()
        return {(row.a_id, row.b_id): (row.rungs, row.n, row.fooled_ab, row.fooled_ba, row.fooled_both) for row in rows}


def test_cells_that_are_recorded_together_count_as_if_each_came_alone(small):
    networks = [small.add_network(name) for name in "abcd"]
    for network in networks:
        attack(small, network)
        attack(small, network, rung=1)
    b = networks[1]
    others = [each for each in networks if each != b]
    claims = claim_all_transfers(small, networks)
    for place, other in enumerate(others[:2]):
        record(small, claims[other], transfer_record(b, 3 + place), transfer_record(b, 2, rung=1))
    cells = [transfer_record(other, 5 + place, rung=0, start=1) for place, other in enumerate(others)]
    more = [transfer_record(other, 1 + place, rung=1) for place, other in enumerate(others[1:])]
    with small.sessions() as session:
        version = session.scalars(select(ComparisonRow.version)).one()
    record_together(small, claims[b], *cells, *more)
    with small.sessions() as session:
        assert session.scalars(select(ComparisonRow.version)).one() == version + 1
        assert set(session.scalars(select(PairRow.version))) == {version + 1}
    together = pairs(small)
    with small.sessions.begin() as session:
        session.execute(delete(TransferRow).where(TransferRow.target_id == b))
        session.execute(delete(PairRow))
    record(small, claims[b], *cells, *more)
    assert pairs(small) == together
    assert together[networks[0], b] == (1, 16, 5, 3, 2)


def test_of_cells_that_are_recorded_together_each_must_be_current(small):
    a, b, c = (small.add_network(name) for name in "abc")
    attack(small, a)
    attack(small, c)
    claimed = claim_transfers(small, b)
    stale = replace(transfer_record(c, 4), images_sha256=b"o" * 32)
    record_together(small, claimed, stale, transfer_record(a, 5))
    assert pairs(small) == {(a, b): (1, 16, 5, None, None)}


def test_many_cells_recorded_at_the_same_instant_onto_many_targets(small):
    """Each target's transaction locks the pairs that it shares with all others; in one order, so none is in the way."""
    networks = [small.add_network(name) for name in "abcdef"]
    for network in networks:
        attack(small, network)
    claims = claim_all_transfers(small, networks)
    barrier = threading.Barrier(len(networks))

    def go(target):
        sources = [network for network in networks if network != target]
        cells = [transfer_record(source, 5) for source in (reversed(sources) if target % 2 else sources)]
        with small.sessions.begin() as session:
            session.execute(select(1))
            barrier.wait()
            record_transfers(session, claims[target], cells)

    with ThreadPoolExecutor(len(networks)) as pool:
        list(pool.map(go, networks))
    assert len(pairs(small)) == 15
    assert set(pairs(small).values()) == {(1, 16, 5, 5, 5)}


def test_nothing_is_recorded_under_a_lost_fence(small):
    a, b = small.add_network("a"), small.add_network("b")
    attack(small, a)
    claimed = claim_transfers(small, b)
    with small.sessions.begin() as session:
        fence_off(session, network_id=b)
    with pytest.raises(LostLeaseError):
        record(small, claimed, transfer_record(a, 5))
    with small.sessions() as session:
        assert session.scalars(select(func.count()).select_from(TransferRow)).one() == 0


def test_an_attack_that_comes_while_its_target_works_is_not_missed(small):
    a, b = small.add_network("a"), small.add_network("b")
    attack(small, a)
    claimed = claim_transfers(small, b)
    late = small.add_network("late")
    with small.sessions.begin() as session:
        want(session, JobKind.ATTACK, network_id=late, comparison_id=small.comparison_id)
    attack(small, late)
    record(small, claimed, transfer_record(a, 5))
    with small.sessions.begin() as session:
        finish(session, claimed)
    with small.sessions() as session:
        job = session.get_one(JobRow, claimed.job_id)
        assert job.state is JobState.QUEUED
        assert pending_cells(session, b, small.comparison_id, small.image_set(session)) == [Cell(late, 0)]
        assert session.scalars(select(func.count()).select_from(AttackRow)).one() == 2


def test_recorded_progress_counts_attempts_anew(small):
    """A long job may be interrupted often; only one that fails again and again at the same place is given up."""
    a, b = small.add_network("a"), small.add_network("b")
    attack(small, a)
    attack(small, a, rung=1)
    claim_transfers(small, b)
    for rung in (0, 1):
        with small.sessions.begin() as session:
            session.execute(
                update(JobRow)
                .where(JobRow.network_id == b)
                .values(lease_until=text("now() - interval '1 s'"), attempt=2)
            )
            take_over(session, 0)
            session.execute(update(JobRow).values(not_before=None))
        claimed = small.claim_of(JobKind.TRANSFERS, b)
        assert claimed.attempt == 3
        record(small, claimed, transfer_record(a, 1, rung=rung))
        with small.sessions() as session:
            assert session.get_one(JobRow, claimed.job_id).attempt == 1


def test_the_second_rung_begins_with_the_nearest(small):
    target, *sources = (small.add_network(name) for name in "abcde")
    for source in sources:
        attack(small, source)
        attack(small, source, rung=1)
    attack(small, target)
    far, near, nearest_both_ways, without_common = sources
    claimed = claim_transfers(small, target)
    counts = ((far, 2, 16), (near, 9, 16), (nearest_both_ways, 8, 16), (without_common, 0, 0))
    record(small, claimed, *(transfer_record(source, fooled, common=common) for source, fooled, common in counts))
    record(small, claim_transfers(small, nearest_both_ways), transfer_record(target, 16))
    with small.sessions() as session:
        cells = pending_cells(session, target, small.comparison_id, small.image_set(session))
    assert cells == [Cell(source, 1) for source in (nearest_both_ways, near, far, without_common)]


def test_targets_take_their_second_rung_by_their_nearest_sources(small):
    """A newcomer's neighbours come first in both directions, whichever network has the smaller id."""
    far, near, newcomer = (small.add_network(name) for name in ("far", "near", "new"))
    attack(small, newcomer)
    for target, fooled in ((far, 1), (near, 12)):
        record(small, claim_transfers(small, target), transfer_record(newcomer, fooled))
    with small.sessions.begin() as session:
        session.execute(update(JobRow).values(state=JobState.IDLE, lease_until=None))
    attack(small, newcomer, rung=1)
    first = small.claim()
    assert first.network_id == near
    record(small, first, transfer_record(newcomer, 3, rung=1))
    # what is left when a job ends keeps its place, too
    with small.sessions.begin() as session:
        finish_with(session, first, 1, nearness=0.1)
    assert [small.claim().network_id for _ in range(2)] == [far, near]
