"""How this worker stands with its operator: what it was last told, whether it is at work, and how it ends."""

import logging
import os
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from registry.database import migration_head
from registry.jobs import Claim
from registry.tables import WorkerWish
from registry.workers import Orders

log = logging.getLogger(__name__)
# EX_TEMPFAIL: the supervisor starts the process again, while one that ended with 0 was asked to and stays away
EXIT_START_AGAIN = 75


class Standing:
    """Written by the reconciler's thread, read by the job's: each attribute is replaced as a whole.

    busy: a job is in hand. leaving: no other will be. exit_status: what the process will end with.
    """

    def __init__(self) -> None:
        self.orders = Orders()
        self.busy = False
        self.leaving = False
        self.exit_status = 0
        # as fresh as the database last answered: what a container's health check looks at
        self._sign = Path(tempfile.gettempdir()) / f"sat-worker-{os.getpid()}.alive"

    def leave(self) -> None:
        """Take the sign of life away."""
        self._sign.unlink(missing_ok=True)

    @property
    def paused(self) -> bool:
        """Whether this worker is to hold still."""
        return self.orders.wish is WorkerWish.PAUSE

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """Hold a job while the block runs."""
        self.busy = True
        try:
            yield
        finally:
            self.busy = False

    def stops(self, claimed: Claim) -> bool:
        """Whether the job must be given back after the result at hand."""
        return self.paused or claimed.comparison_id in self.orders.paused

    def follow(self, orders: Orders, *, device_lost: bool = False) -> None:
        """Take orders; a worker that may claim nothing more ends itself once no job is in its hands.

        device_lost: another worker took its GPU while the database was away.
        """
        self._sign.touch()
        if orders.wish is not self.orders.wish:
            log.info("asked to %s", orders.wish)
        self.orders = orders
        why = self._why_it_leaves(orders)
        if why is None and device_lost:
            why = "another worker holds its GPU; a new process takes one that is free."
        self.leaving = why is not None
        if why is None or self.busy:
            return
        log.info("this worker ends: %s", why)
        self.exit_status = 0 if orders.wish is WorkerWish.DRAIN else EXIT_START_AGAIN
        # Celery's warm shutdown, which can be asked for in no other way from within
        os.kill(os.getpid(), signal.SIGTERM)

    def _why_it_leaves(self, orders: Orders) -> str | None:
        if orders.wish is WorkerWish.DRAIN:
            return "it was asked to drain."
        if not orders.entered:
            return "its row was cleared away; a new process enters again."
        if orders.revision not in {None, _known_revision()}:
            return f"the database was migrated to {orders.revision}, which this release does not know."
        return None


@cache
def _known_revision() -> str:
    return migration_head()
