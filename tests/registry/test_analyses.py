"""Analyses are asked for once a version, and failures are not kept for ever."""

from datetime import timedelta

import pytest
from sqlalchemy import func, select, update

from registry.analyses import (
    fail_analyses,
    find_analysis,
    is_fresh,
    pending_analyses,
    record_analysis,
    request_analysis,
)
from registry.jobs import finish
from registry.tables import AnalysisKind, AnalysisRow, JobKind, JobRow, Lane
from registry.versions import raise_version

ENSEMBLE = (AnalysisKind.ENSEMBLE, {"members": [1], "candidates": [1], "n": 1})
CLUSTERS = (AnalysisKind.CLUSTERS, {"k": None})


@pytest.fixture
def ask(small):
    def request(kind):
        with small.sessions.begin() as session:
            return request_analysis(session, small.comparison_id, *kind)

    return request


def answer(small, kind, version=0, **outcome):
    claimed = small.claim(Lane.LIGHT)
    with small.sessions.begin() as session:
        row = find_analysis(session, small.comparison_id, *kind)
        record_analysis(session, claimed, row, version=version, **({"result": None, "failure": None} | outcome))
        finish(session, claimed)


def jobs(small):
    with small.sessions() as session:
        return session.scalars(select(JobRow.wanted).where(JobRow.kind == JobKind.ANALYSE)).all()


def test_asking_makes_one_job_and_the_answer_is_kept(small, ask):
    assert ask(CLUSTERS).version is None
    answer(small, CLUSTERS, result={"k": 1})
    row = ask(CLUSTERS)
    assert (row.version, row.result) == (0, {"k": 1})
    assert jobs(small) == [1]


def test_a_new_version_makes_clusters_stale_and_an_ensemble_not(small, ask):
    for kind in (CLUSTERS, ENSEMBLE):
        ask(kind)
        answer(small, kind, result={"k": 1})
    with small.sessions.begin() as session:
        version = raise_version(session, small.comparison_id)
    clusters, ensemble = ask(CLUSTERS), ask(ENSEMBLE)
    assert not is_fresh(clusters, version)
    assert clusters.result == {"k": 1}, "the older result is still there to be served"
    assert is_fresh(ensemble, version)
    with small.sessions() as session:
        assert [row.kind for row in pending_analyses(session, small.comparison_id)] == [AnalysisKind.CLUSTERS]


@pytest.mark.parametrize("kind", [CLUSTERS, ENSEMBLE])
def test_a_failure_is_told_for_a_minute_and_then_tried_again(small, ask, kind):
    ask(kind)
    answer(small, kind, failure="the disk is full")
    assert ask(kind).failure == "the disk is full"
    assert jobs(small) == [1]
    with small.sessions.begin() as session:
        session.execute(update(AnalysisRow).values(requested_at=func.now() - timedelta(minutes=2)))
    row = ask(kind)
    assert (row.version, row.failure) == (None, None)
    answer(small, kind, result={"k": 1})
    assert ask(kind).result == {"k": 1}


def test_a_failure_leaves_the_older_result_and_is_tried_again(small, ask):
    ask(CLUSTERS)
    answer(small, CLUSTERS, result={"k": 1})
    with small.sessions.begin() as session:
        version = raise_version(session, small.comparison_id)
    ask(CLUSTERS)
    answer(small, CLUSTERS, version=version, failure="the disk is full")
    row = ask(CLUSTERS)
    assert (row.version, row.result, row.failure) == (0, {"k": 1}, "the disk is full")
    assert is_fresh(row, version), "nobody is asked again within the minute"
    with small.sessions() as session:
        assert pending_analyses(session, small.comparison_id) == []
    with small.sessions.begin() as session:
        newer = raise_version(session, small.comparison_id)
    row = ask(CLUSTERS)
    assert (row.version, row.result, row.failure) == (0, {"k": 1}, None)
    answer(small, CLUSTERS, version=newer, result={"k": 2})
    assert (ask(CLUSTERS).version, ask(CLUSTERS).result) == (newer, {"k": 2})


def test_a_job_that_is_given_up_tells_every_waiting_analysis_why(small, ask):
    for kind in (CLUSTERS, ENSEMBLE):
        ask(kind)
    with small.sessions.begin() as session:
        fail_analyses(session, small.comparison_id, "the worker died 3 times")
    assert {ask(kind).failure for kind in (CLUSTERS, ENSEMBLE)} == {"the worker died 3 times"}
