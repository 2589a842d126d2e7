"""The reconciler: a thread in every worker that keeps lost bells and dead workers from mattering."""

import logging
import threading

from sqlalchemy import func, select, update
from sqlalchemy.exc import SQLAlchemyError

from registry.database import transaction
from registry.faults import take_over
from registry.jobs import lanes_with_work
from registry.tables import WorkerRow
from worker.context import Context

log = logging.getLogger(__name__)

INTERVAL_SECONDS = 2.0
# Held for one pass at a time, so that of many workers one does it.
ELECTION = 0x5A7_0002


class Reconciler:
    """Runs passes every two seconds until stopped."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="reconciler", daemon=True)

    def start(self) -> None:
        """Start the thread; its first pass is at once."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread after the pass in hand."""
        self._stop.set()
        self._thread.join(timeout=5)

    def _run(self) -> None:
        while True:
            try:
                reconcile(self._context)
            except SQLAlchemyError as error:
                log.warning("reconciler: %s", error)
            except Exception:  # a pass that fails must not be the last one
                log.exception("reconciler")
            if self._stop.wait(INTERVAL_SECONDS):
                return


def reconcile(context: Context) -> None:
    """One pass: say that this worker lives; if elected, take over from silent workers and ring for what waits."""
    with context.sessions.begin() as session:
        session.execute(update(WorkerRow).where(WorkerRow.id == context.worker_id).values(seen_at=func.now()))
    with transaction(context.sessions, context.bell.ring) as session:
        if not session.execute(select(func.pg_try_advisory_xact_lock(ELECTION))).scalar_one():
            return
        take_over(session, context.settings.lease_seconds)
        lanes = lanes_with_work(session)
    for lane in lanes:
        context.bell.ring(lane)
