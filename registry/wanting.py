"""Asking for work: a job's row is made or raised, and its lane rung for after the commit."""

from collections.abc import Mapping
from typing import cast

from sqlalchemy import Integer, Table, and_, any_, bindparam, case, func, literal, or_
from sqlalchemy.dialects.postgresql import Insert, insert
from sqlalchemy.orm import Session

from registry.database import announce
from registry.tables import JobKind, JobRow, JobState, Lane

LANE_OF = {
    JobKind.PREPARE: Lane.LIGHT,
    JobKind.ANALYSE: Lane.LIGHT,
    JobKind.NOTIFY: Lane.LIGHT,
    JobKind.EVALUATE: Lane.COMPUTE,
    JobKind.ATTACK: Lane.COMPUTE,
    JobKind.TRANSFERS: Lane.COMPUTE,
}
# The smallest first. Every network's attack precedes the transfers, so that a target, once loaded, meets all sources
# that are pending; rung 0 of everything precedes rung 1 of anything.
PRIORITY = {
    (JobKind.PREPARE, 0): 0,
    (JobKind.EVALUATE, 0): 10,
    (JobKind.ATTACK, 0): 20,
    (JobKind.TRANSFERS, 0): 30,
    (JobKind.NOTIFY, 0): 40,
    (JobKind.ATTACK, 1): 50,
    (JobKind.TRANSFERS, 1): 60,
    (JobKind.ANALYSE, 0): 70,
}
# Rung 1 onto a target waits the longer the less rung 0 found it to be fooled with its sources: neighbours are what
# people ask for.
FARTHEST = 9
# Of more sources than these a target looks at all.
MAX_SOURCES = 64


def want(
    session: Session,
    kind: JobKind,
    *,
    model_id: int | None = None,
    network_id: int | None = None,
    comparison_id: int | None = None,
    rung: int = 0,
) -> None:
    """Ask for work on a subject: its row is made or raised, and its lane rung for after the commit.

    A running row only has `wanted` raised: it is queued again when it finishes, so no wake-up is lost.
    """
    session.flush()
    session.execute(_WANT, _subject(kind, model_id, network_id, comparison_id, priority_of(kind, rung)))
    announce(session, LANE_OF[kind])


def want_of_networks(
    session: Session,
    kind: JobKind,
    priorities: Mapping[int, int],
    comparison_id: int,
    *,
    source_id: int,
) -> None:
    """As `want` for each of the networks, in one exchange with the database: a newcomer asks all others.

    priorities: by network id, in the order in which the jobs' rows are locked.
    source_id: the only source that new cells are of; who looks for them need not look at all others.
    """
    if priorities:
        subjects = [
            _subject(kind, None, network_id, comparison_id, priority) | {"source": source_id}
            for network_id, priority in priorities.items()
        ]
        session.flush()
        session.execute(_WANT, subjects)
        announce(session, LANE_OF[kind])


def priority_of(kind: JobKind, rung: int, nearness: float | None = None) -> int:
    """The priority of a job, the smallest first; nearness is the share of images that fooled (None: not known)."""
    base = PRIORITY[kind, rung]
    if (kind, rung) != (JobKind.TRANSFERS, 1):
        return base
    return base + (FARTHEST if nearness is None else round(FARTHEST * (1 - nearness)))


def _subject(
    kind: JobKind, model_id: int | None, network_id: int | None, comparison_id: int | None, priority: int
) -> dict[str, object]:
    return {
        "kind": kind,
        "lane": LANE_OF[kind],
        "model_id": model_id,
        "network_id": network_id,
        "comparison_id": comparison_id,
        "priority": priority,
        "state": JobState.QUEUED,
        "source": None,
    }


def _want_statement() -> Insert:
    """Make a job's row, or raise it; one that rests begins anew."""
    jobs = cast("Table", JobRow.__table__)
    # without `sources`: for a new row nobody has looked anywhere yet
    row, old = insert(jobs), jobs.c
    source = bindparam("source", type_=Integer)
    # appending to null would narrow a look at all sources to this one
    everywhere = or_(source.is_(None), old.sources.is_(None), func.cardinality(old.sources) >= MAX_SOURCES)
    # a source that asks is no reason to try again what failed, and may have killed workers: a retry is
    stays_failed = and_(old.state == JobState.FAILED, source.is_not(None))
    resting = or_(old.state == JobState.IDLE, and_(old.state == JobState.FAILED, source.is_(None)))
    return row.on_conflict_do_update(
        constraint="uq_jobs_subject",
        set_={
            "wanted": old.wanted + 1,
            "priority": case((resting, row.excluded.priority), else_=func.least(old.priority, row.excluded.priority)),
            "state": case((resting, literal(JobState.QUEUED.value)), else_=old.state),
            "attempt": case((resting, 0), else_=old.attempt),
            "errors": case((resting, 0), else_=old.errors),
            "queued_at": case((resting, func.now()), else_=old.queued_at),
            "failure": case((stays_failed, old.failure), else_=None),
            "not_before": None,
            "sources": case(
                (everywhere, None),
                (source == any_(old.sources), old.sources),
                else_=func.array_append(old.sources, source),
            ),
        },
    )


_WANT = _want_statement()
