"""The reconciler: a thread in every worker that keeps lost bells and dead workers from mattering."""

import logging
import threading

from sqlalchemy import func, select
from sqlalchemy.exc import SQLAlchemyError

from registry.database import transaction
from registry.faults import take_over
from registry.jobs import lanes_with_work
from registry.locks import AdvisoryLock
from registry.workers import report_in
from worker.context import Context
from worker.device import memory_of
from worker.remembering import Remembering

log = logging.getLogger(__name__)

INTERVAL_SECONDS = 2.0


class Reconciler:
    """Runs passes every two seconds until stopped."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._remembering = Remembering(context)
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
                self._remembering.look_when_due()
            except SQLAlchemyError as error:
                log.warning("reconciler: %s", error)
            except Exception:  # a pass that fails must not be the last one
                log.exception("reconciler")
            if self._stop.wait(INTERVAL_SECONDS):
                return


def reconcile(context: Context) -> None:
    """One pass: say that this worker lives and hear its orders; if elected, take over from silent workers and ring."""
    with context.sessions.begin() as session:
        orders = report_in(session, context.worker_id, memory_of(context.device))
    lock = context.device.lock
    context.standing.follow(orders, device_lost=lock is not None and not lock.keep())
    with transaction(context.sessions, context.bell.ring) as session:
        # of many workers one does it
        if not session.execute(select(func.pg_try_advisory_xact_lock(AdvisoryLock.ELECTION))).scalar_one():
            return
        take_over(session, context.settings.lease_seconds)
        lanes = lanes_with_work(session)
    for lane in lanes:
        context.bell.ring(lane)
