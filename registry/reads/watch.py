"""Keeping the view current: a thread that hears of new versions, and reads what changed."""

import logging
import threading
import time

from psycopg import Connection as PsycopgConnection
from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError

from registry.errors import NotFoundError, UnavailableError
from registry.reads.outage import explain
from registry.reads.pace import Pace
from registry.reads.snapshot import Snapshot, View, read_view
from registry.versions import CHANNEL

POLL_SECONDS = 1.0
# Workers announce each recorded cell; more than some ten refreshes a second would serve nobody.
QUIET_SECONDS = 0.1
_log = logging.getLogger(__name__)


class Watch:
    """Holds the current view. Reading it costs an attribute access; it is replaced as a whole, never changed."""

    def __init__(self, engine: Engine, *, poll_seconds: float = POLL_SECONDS) -> None:
        self._reader = engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
        self._listener = engine.execution_options(isolation_level="AUTOCOMMIT")
        self._poll_seconds = poll_seconds
        self._view: View | None = None
        self._wanted: frozenset[int] = frozenset()
        self._read_at = float("-inf")
        self._reading = threading.Lock()
        self.pace = Pace()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="watch", daemon=True)

    def start(self) -> None:
        """Begin to follow the database; it may be down for now."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread."""
        self._ended.set()
        self._thread.join(timeout=5)

    def view(self) -> View:
        """The current view; the first call reads it. UnavailableError while the database was never reached."""
        return self._view or self.refresh()

    def refresh(self) -> View:
        """A view that was read after this call began; callers at the same time share one reading."""
        asked = time.monotonic()
        with self._reading:
            if self._view is None or self._read_at < asked:
                started = time.monotonic()
                try:
                    with self._reader.connect() as connection:
                        self._view = read_view(connection, self._wanted, self._view)
                except DBAPIError as error:
                    raise explain(error) or error from error
                self._read_at = started
                self.pace.note(self._view)
            return self._view

    def peek(self, image_set: str | None, protocol: str | None) -> Snapshot | None:
        """As `select`, but None where that would have to ask the database. Never waits."""
        view = self._view
        try:
            comparison = view.zoo.select_comparison(image_set, protocol) if view else None
        except NotFoundError:
            return None
        return view.snapshots.get(comparison.id) if view and comparison else None

    def select(self, image_set: str | None, protocol: str | None) -> Snapshot:
        """The snapshot of the comparison that a read selects; NotFoundError lists what there is.

        A name that the view does not know is looked up afresh once; so is a comparison nobody asked for before.
        """
        view = self.view()
        try:
            comparison = view.zoo.select_comparison(image_set, protocol)
        except NotFoundError:
            view = self.refresh()
            comparison = view.zoo.select_comparison(image_set, protocol)
        if comparison.id not in view.snapshots:
            with self._reading:
                self._wanted |= {comparison.id}
            view = self.refresh()
        return view.snapshots[comparison.id]

    def select_for_task(self, task_id: int) -> Snapshot | None:
        """The snapshot of the task's default or first comparison; None when nothing compares models of it."""
        comparison = self.view().zoo.comparison_of_task(task_id)
        return self.select(comparison.image_set, comparison.protocol) if comparison else None

    def _follow(self) -> None:
        while not self._ended.is_set():
            try:
                self._listen()
            except (DBAPIError, UnavailableError) as error:
                _log.warning("the database does not answer, trying again: %s", error)
                self._ended.wait(self._poll_seconds)
            except Exception:  # noqa: BLE001  the thread must outlive any surprise: readers would see the past for ever
                _log.exception("refreshing the view failed")
                self._ended.wait(self._poll_seconds)

    def _listen(self) -> None:
        with self._listener.connect() as connection:
            connection.exec_driver_sql(f"listen {CHANNEL}")
            driver = connection.connection.driver_connection
            assert isinstance(driver, PsycopgConnection)
            while not self._ended.is_set():
                self.refresh()
                self._ended.wait(QUIET_SECONDS)
                self._wait_for_bell(driver)

    def _wait_for_bell(self, driver: "PsycopgConnection[object]") -> None:
        """Return at the first notification, or after the poll's time; end early when stopped."""
        until = time.monotonic() + self._poll_seconds
        while not self._ended.is_set() and (left := until - time.monotonic()) > 0:
            if list(driver.notifies(timeout=min(left, 0.2), stop_after=1)):
                return
