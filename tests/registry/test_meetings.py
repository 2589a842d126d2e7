"""Every pair of live networks is measured, whatever order things happen in: targets look only at who asked them."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select, text

from registry.access import LOCAL
from registry.archiving import archive_model, measure_to, unarchive_model
from registry.jobs import LostLeaseError, finish_with, hold
from registry.models import delete_model
from registry.pending import pending_cells
from registry.restoring import restore_model
from registry.results import record_refusal, retry_measuring
from registry.tables import JobKind, JobRow, ModelRow, ModelState, TransferRow
from registry.wanting import MAX_SOURCES
from tests.registry.stub_worker import do, measure_all, start

NAMES = tuple("abcd")


def sources_of(small, target):
    """What the target's job was asked by."""
    with small.sessions() as session:
        return session.scalars(
            select(JobRow.sources).where(JobRow.kind == JobKind.TRANSFERS, JobRow.network_id == target)
        ).one()


def cells(small):
    with small.sessions() as session:
        found = session.execute(select(TransferRow.source_id, TransferRow.target_id, TransferRow.rung)).all()
        return sorted(tuple(row) for row in found)


def every_cell(networks):
    return sorted((a, b, rung) for a in networks for b in networks if a != b for rung in (0, 1))


def test_a_newcomer_costs_each_target_one_source(small):
    old = [start(small, name) for name in NAMES]
    measure_all(small)
    assert [sources_of(small, target) for target in old] == [[]] * len(old)
    new = start(small, "new")
    claimed = small.claim_of(JobKind.ATTACK, new)
    do(small, claimed)
    assert [sources_of(small, target) for target in old] == [[new]] * len(old)
    measure_all(small)
    assert cells(small) == every_cell([*old, new])


def test_a_look_at_all_sources_is_not_narrowed_by_one_that_asks(small):
    """The evaluation asked for a look at all; an attack that ends before that look must not take it away."""
    a, b = start(small, "a"), start(small, "b")
    do(small, small.claim_of(JobKind.ATTACK, a))
    assert sources_of(small, b) is None
    measure_all(small)
    assert cells(small) == every_cell([a, b])


def test_more_sources_than_worth_a_list_are_a_look_at_all(small):
    target = start(small, "target")
    measure_all(small)
    sources = [start(small, f"source-{i}") for i in range(MAX_SOURCES + 2)]
    for source in sources:
        do(small, small.claim_of(JobKind.ATTACK, source))
    assert sources_of(small, target) is None
    claimed = small.claim_of(JobKind.TRANSFERS, target)
    assert do(small, claimed) == len(sources)


def test_a_retry_looks_at_all_sources(small):
    a, b = start(small, "a"), start(small, "b")
    do(small, small.claim_of(JobKind.ATTACK, a))
    claimed = small.claim_of(JobKind.TRANSFERS, b)
    with small.sessions.begin() as session:
        record_refusal(session, claimed, a, 0, "the logits are not finite")
    with small.sessions.begin() as session:
        hold(session, claimed)
        finish_with(session, claimed, None)
    assert sources_of(small, b) == []
    with small.sessions.begin() as session:
        assert retry_measuring(session, b)
    assert sources_of(small, b) is None


STEPS = st.lists(
    st.tuples(
        st.sampled_from(("start", "archive", "unarchive", "delete", "restore", "shallow", "deep", "work", "work")),
        st.sampled_from(NAMES),
    ),
    max_size=24,
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], derandomize=True)
@given(STEPS)
def test_whatever_happens_in_whatever_order_all_live_pairs_are_measured(small, steps):
    empty(small)
    networks = {}
    for what, name in steps:
        if what == "work":
            if (claimed := small.claim()) is not None:
                do(small, claimed)
        elif (what == "start") == (name not in networks):
            if what == "start":
                networks[name] = start(small, name)
            else:
                happen(small, what, name)
    for name in networks:
        for what in ("restore", "unarchive", "deep"):
            happen(small, what, name)
    measure_all(small)
    assert cells(small) == every_cell(networks.values())
    assert_nothing_pending(small, networks.values())


@pytest.mark.parametrize("seed", range(3))
def test_the_same_with_workers_at_once(small, seed):
    """Four workers drain the queue while models come, go and come back."""
    networks = {name: start(small, name) for name in NAMES}
    done = threading.Event()

    def work():
        while (claimed := small.claim()) is not None or not done.is_set():
            if claimed is not None:
                try:
                    do(small, claimed)
                except LostLeaseError:
                    continue  # fenced off by an archiving or a deletion

    with ThreadPoolExecutor(4) as pool:
        workers = [pool.submit(work) for _ in range(4)]
        try:
            for i in range(12):
                name = NAMES[(i * 7 + seed) % len(NAMES)]
                for what in (("archive", "unarchive"), ("delete", "restore"), ("shallow", "deep"))[(i + seed) % 3]:
                    happen(small, what, name)
                if i % 4 == 0:
                    networks[f"new-{i}"] = start(small, f"new-{i}")
        finally:
            done.set()
        for worker in workers:
            worker.result(timeout=60)
    measure_all(small)
    assert cells(small) == every_cell(networks.values())
    assert_nothing_pending(small, networks.values())


def happen(small, what, name):
    """The event, where the model's state allows it."""
    with small.sessions() as session:
        deleted = session.scalars(select(ModelRow).where(ModelRow.deleted_name == name)).one_or_none() is not None
    if deleted != (what == "restore"):
        return
    with small.sessions.begin() as session:
        if what == "archive":
            archive_model(session, name)
        elif what == "unarchive":
            unarchive_model(session, name)
        elif what == "delete":
            delete_model(session, name, actor=LOCAL)
        elif what == "restore":
            restore_model(session, name, actor=LOCAL)
        else:
            measure_to(session, name, 0 if what == "shallow" else 1)


def empty(small):
    """Forget all models and what was measured."""
    with small.sessions.begin() as session:
        session.execute(text("truncate models, names, networks, jobs, evaluations, attacks, transfers, pairs cascade"))


def assert_nothing_pending(small, networks):
    with small.sessions() as session:
        assert not session.scalars(select(ModelRow.id).where(ModelRow.state != ModelState.READY)).all()
        for network in networks:
            assert pending_cells(session, network, small.comparison_id, small.image_set(session)) == []
