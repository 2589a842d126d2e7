"""Keeping a claim: a thread renews the lease, and ends the process when a job outlives its time limit."""

import faulthandler
import logging
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.exc import SQLAlchemyError

from registry.database import transaction
from registry.faults import try_again
from registry.jobs import Claim, LostLeaseError, renew
from worker.context import Context, StoppingError

log = logging.getLogger(__name__)

RENEWALS_PER_LEASE = 3
# A process in which no Python thread has run for so many leases is ended: native code holds the interpreter.
STUCK_LEASES = 8
# its descriptor, whatever sys.stderr is
STDERR = 2
# EX_TEMPFAIL: the supervisor starts the process again
EXIT_TIME_LIMIT = 75


class Lease:
    """What a running job asks between steps: does my claim stand, was I asked to end?"""

    def __init__(self, context: Context, claimed: Claim) -> None:
        self.claim = claimed
        self._context = context
        self._lost = threading.Event()
        self._done = threading.Event()
        self._progress: float | None = None

    def check(self, progress: float | None = None) -> None:
        """Note the progress (0 to 1); LostLeaseError or StoppingError where the job must not go on."""
        if progress is not None:
            self._progress = progress
        if self._lost.is_set():
            raise LostLeaseError(self.claim)
        if self._context.stopping.is_set():
            raise StoppingError

    def heed(self, _share: float) -> None:
        """As `check`, for work whose progress is told elsewhere: `measure` calls it between two chunks."""
        self.check()

    def check_between_results(self, progress: float | None = None) -> None:
        """As `check`; StoppingError also where an operator wants no further result now (docs/operations.md)."""
        self.check(progress)
        if self._context.standing.stops(self.claim):
            raise StoppingError

    def keep(self) -> None:
        """Renew until done; runs in its own thread."""
        settings = self._context.settings
        deadline = time.monotonic() + settings.job_seconds
        self._say_alive()
        while not self._done.wait(settings.lease_seconds / RENEWALS_PER_LEASE):
            self._say_alive()
            if time.monotonic() > deadline:
                self._end_process(settings.job_seconds)
            try:
                with self._context.sessions.begin() as session:
                    renew(session, self.claim, settings.lease_seconds, self._progress)
            except LostLeaseError:
                self._lost.set()
                return
            except SQLAlchemyError as error:
                # the database may be restarting; the claim stands until the lease has run out
                log.warning("lease of job %s not renewed: %s", self.claim.job_id, error)

    def _say_alive(self) -> None:
        """Put the end of this process off; the timer is native code too, and goes off although no thread can run."""
        seconds = STUCK_LEASES * self._context.settings.lease_seconds
        faulthandler.dump_traceback_later(seconds, exit=True, file=STDERR)

    def end(self) -> None:
        """Stop renewing."""
        self._done.set()

    def _end_process(self, limit: float) -> None:
        reason = f"took longer than {limit:.0f} seconds (SAT_JOB_SECONDS)"
        log.error("job %s %s: this process ends", self.claim.job_id, reason)
        try:
            with transaction(self._context.sessions, self._context.bell.ring) as session:
                try_again(session, self.claim, reason)
        finally:
            # the job's own thread cannot be stopped in any other way
            os._exit(EXIT_TIME_LIMIT)


@contextmanager
def keeping(context: Context, claimed: Claim) -> Iterator[Lease]:
    """Keep the claim while the block runs."""
    lease = Lease(context, claimed)
    thread = threading.Thread(target=lease.keep, name="lease", daemon=True)
    thread.start()
    try:
        yield lease
    finally:
        lease.end()
        thread.join()
        faulthandler.cancel_dump_traceback_later()
