"""Asking for what was forgotten: whatever ends asks for what follows it, and this does not rely on that."""

import logging
import time

from registry.database import transaction
from registry.deliveries import ask_for_news
from registry.upkeep.missing import want_missing
from worker.context import Context
from worker.upkeep import longest_alive

log = logging.getLogger(__name__)

# Looking takes the database half a second at 700 models: at first after a minute, then ever more rarely while there is
# nothing to be found.
FIRST_SECONDS = 60.0
LONGEST_SECONDS = 600.0


class Remembering:
    """Looks now and then, in the worker that has been alive for longest."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._pause = FIRST_SECONDS
        self._due = time.monotonic() + FIRST_SECONDS

    def look_when_due(self) -> None:
        """Look, unless the last time was not long ago."""
        if time.monotonic() >= self._due:
            self._pause = FIRST_SECONDS if self.look() else min(2 * self._pause, LONGEST_SECONDS)
            self._due = time.monotonic() + self._pause

    def look(self) -> bool:
        """Ask for what is missing where nothing is going on, and log it; whether there was anything."""
        context = self._context
        with transaction(context.sessions, context.bell.ring) as session:
            if longest_alive(session) != context.worker_id:
                return False
            missing = want_missing(session)
            # a worker that ends between its last cell and asking says nothing of what it has measured
            ask_for_news(session)
        for each in missing:
            log.warning(
                "forgotten: %s of networks %s in comparison %s were missing, and are asked for now: something ended "
                "without asking for them, which is a fault of the registry", each.kind, each.networks,
                each.comparison_id,
            )  # fmt: skip
        return bool(missing)
