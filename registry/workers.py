"""Workers: entered at their start, heard of every two seconds, told what an operator wants, and gone with a goodbye."""

from collections.abc import Iterable
from dataclasses import dataclass

from sqlalchemy import func, select, text, update
from sqlalchemy.orm import Session

from registry.access import LOCAL, Actor, record_audit
from registry.conditions import Seen, require_seen, state_of
from registry.errors import ConflictError, NotFoundError
from registry.tables import ComparisonRow, ComparisonState, WorkerRow, WorkerWish


@dataclass(frozen=True, kw_only=True, slots=True)
class Orders:
    """What a worker has to know between two results. paused: comparisons whose running jobs stop, too.

    entered: its row is there; one that was silent for long may have been cleared away, and then nothing is claimed.
    revision: of the database.
    """

    entered: bool = True
    wish: WorkerWish = WorkerWish.RUN
    paused: frozenset[int] = frozenset()
    revision: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class DeviceMemory:
    """Bytes of a worker's device, and how many of them are in use by anybody."""

    total: int
    used: int


def report_in(session: Session, worker_id: int, memory: DeviceMemory | None) -> Orders:
    """Note that the worker lives and what its device holds; return what is wanted of it."""
    wish = session.execute(
        update(WorkerRow)
        .where(WorkerRow.id == worker_id)
        .values(
            seen_at=func.now(),
            device_bytes=memory.total if memory else None,
            device_bytes_used=memory.used if memory else None,
        )
        .returning(WorkerRow.wish)
    ).scalar_one_or_none()
    paused = session.scalars(select(ComparisonRow.id).where(ComparisonRow.state == ComparisonState.PAUSED))
    return Orders(
        entered=wish is not None,
        wish=wish or WorkerWish.RUN,
        paused=frozenset(paused),
        # as alembic keeps it, without alembic's two lines of log a time
        revision=session.scalars(text("select version_num from alembic_version")).first(),
    )


def ask_worker(
    session: Session, worker_id: int, wish: WorkerWish, *, seen: Seen = None, actor: Actor = LOCAL
) -> WorkerRow:
    """Have a worker run, pause or drain; it hears of it within some two seconds, and claims nothing from now on.

    seen: the states that the caller has seen (StaleError when it is in another).
    NotFoundError for an unknown worker, ConflictError for one that has left: a new process is a new worker.
    """
    # not the key: results that are being recorded refer to it
    worker = session.get(WorkerRow, worker_id, with_for_update={"key_share": True})
    if worker is None:
        raise NotFoundError(f"there is no worker {worker_id}: GET /workers lists them.")
    if worker.left_at is not None:
        raise ConflictError(f"worker {worker_id} has left: start a worker process, which gets an id of its own.")
    require_seen(seen, (worker_state(worker),), f"worker {worker_id}")
    if worker.wish is not wish:
        record_audit(session, actor, "worker.order", str(worker_id), {"wish": wish.value, "host": worker.host})
    worker.wish = wish
    session.flush()
    return worker


def worker_state(worker: WorkerRow) -> str:
    """What people change of a worker."""
    return state_of(worker.id, worker.wish.value)


def say_goodbye(session: Session, worker_id: int) -> None:
    """Note that the worker has ended by itself."""
    session.execute(update(WorkerRow).where(WorkerRow.id == worker_id).values(left_at=func.now()))


def count_lost_leases(session: Session, worker_ids: Iterable[int]) -> None:
    """Note whose leases ran out. Worker rows are locked after job rows, and by id."""
    for worker_id in sorted(worker_ids):
        session.execute(
            update(WorkerRow).where(WorkerRow.id == worker_id).values(leases_lost=WorkerRow.leases_lost + 1)
        )
