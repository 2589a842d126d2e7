"""Garbage collection by itself: one of the workers sweeps now and then."""

import logging
import threading

from sqlalchemy import func, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from registry.errors import UnavailableError
from registry.intervals import seconds
from registry.tables import WorkerRow
from registry.upkeep.gc import retention_of, sweep
from worker.context import Context

log = logging.getLogger(__name__)

# A worker that was not heard of for so long has no say in who sweeps.
ALIVE_SECONDS = 30.0


class Upkeep:
    """A thread that sweeps every SAT_GC_INTERVAL_SECONDS, in the worker that has been alive for longest."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="upkeep", daemon=True)

    def start(self) -> None:
        """Start the thread; its first sweep is after one interval."""
        if self._context.settings.gc_interval_seconds:
            self._thread.start()

    def stop(self) -> None:
        """End the thread after the step in hand."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(timeout=5)

    def _run(self) -> None:
        context = self._context
        while not self._stop.wait(context.settings.gc_interval_seconds):
            try:
                with context.sessions() as session:
                    chosen = longest_alive(session) == context.worker_id
                if chosen:
                    swept = sweep(
                        context.sessions, context.store, retention_of(context.settings), stopping=self._stop.is_set
                    )
                    log.info("garbage collected: %s", swept)
            except (SQLAlchemyError, UnavailableError) as error:
                log.warning("garbage is not collected now: %s", error)
            except Exception:  # a sweep that fails must not be the last one
                log.exception("garbage collection")


def longest_alive(session: Session) -> int | None:
    """The worker that sweeps. Two may think so for some seconds, which does no harm."""
    return session.scalars(
        select(func.min(WorkerRow.id)).where(
            WorkerRow.left_at.is_(None), WorkerRow.seen_at > func.now() - seconds(ALIVE_SECONDS)
        )
    ).one()
