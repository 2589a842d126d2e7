"""Keeping the view current: a thread that hears of new versions, and reads what changed."""

import logging
import threading
import time
from collections.abc import Callable

from psycopg import Connection as PsycopgConnection
from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError

from registry.errors import NotFoundError, UnavailableError
from registry.reads.outage import explain
from registry.reads.pace import Backlog, Pace
from registry.reads.progress import ComparisonProgress, count_progress, read_comparison_progress
from registry.reads.snapshot import Snapshot, View, read_view
from registry.reads.zoo import Comparison
from registry.tables import ComparisonState
from registry.versions import CHANNEL

POLL_SECONDS = 1.0
# Workers announce each recorded cell; more than some ten refreshes a second would serve nobody. Readers need the
# processor too: a refresh that takes long is followed by as long a rest, times QUIET_SHARE, up to half a second.
LOOK_AGAIN_SECONDS = 0.05
QUIET_SECONDS, LONGEST_QUIET_SECONDS, QUIET_SHARE = 0.1, 0.5, 4
# A comparison that nobody asks for any longer costs memory, and a reading with each of its versions.
FORGET_SECONDS = 600.0
_log = logging.getLogger(__name__)


class Watch:
    """Holds the current view. Reading it costs an attribute access; it is replaced as a whole, never changed."""

    def __init__(
        self, engine: Engine, *, poll_seconds: float = POLL_SECONDS, forget_seconds: float = FORGET_SECONDS
    ) -> None:
        self._reader = engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
        self._listener = engine.execution_options(isolation_level="AUTOCOMMIT")
        self._poll_seconds = poll_seconds
        self._view: View | None = None
        self._forget_seconds = forget_seconds
        self._asked_at: dict[int, float] = {}
        self._counted: dict[int, tuple[int, ComparisonProgress]] = {}
        self._read_at = float("-inf")
        self._reading, self._looking = threading.Lock(), threading.Lock()
        self.pace = Pace()
        self._listeners: list[Callable[[], None]] = []
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="watch", daemon=True)

    def start(self) -> None:
        """Begin to follow the database; it may be down for now."""
        self._thread.start()

    def on_change(self, listener: Callable[[], None]) -> None:
        """Have the listener called, in some thread, after each change of the view. It must not wait."""
        self._listeners.append(listener)

    def stop(self) -> None:
        """End the thread."""
        self._ended.set()
        self._thread.join(timeout=5)

    def age_seconds(self) -> float | None:
        """Seconds since the current view was read, all of which answers from it may lag; None before the first."""
        return time.monotonic() - self._read_at if self._view is not None else None

    def view(self) -> View:
        """The current view; the first call reads it. UnavailableError while the database was never reached."""
        return self._view or self.refresh()

    def look_again(self) -> View:
        """As `refresh`, for a name that the view does not know: at most some readings a second, which callers share.

        Anybody may ask for names that there are not; each would otherwise cost a reading.
        """
        asked = time.monotonic()
        with self._looking:
            if self._read_at < asked:
                time.sleep(max(0.0, self._read_at + LOOK_AGAIN_SECONDS - time.monotonic()))
            return self.refresh(asked)

    def refresh(self, asked: float | None = None) -> View:
        """A view that was read after `asked`, or this call began; callers at the same time share one reading."""
        asked = time.monotonic() if asked is None else asked
        with self._reading:
            if self._view is None or self._read_at < asked:
                started = time.monotonic()
                try:
                    with self._reader.connect() as connection:
                        view = read_view(connection, self._wanted(), self._view)
                except DBAPIError as error:
                    raise explain(error) or error from error
                changed = view is not self._view
                self._read_at, self._view = started, view
                self.pace.note(view)
                for listener in self._listeners if changed else ():
                    listener()
            return self._view

    def peek(self, image_set: str | None, protocol: str | None) -> Snapshot | None:
        """As `select`, but None where that would have to ask the database. Never waits."""
        view = self._view
        try:
            comparison = view.zoo.select_comparison(image_set, protocol) if view else None
        except NotFoundError:
            return None
        if view is None or comparison is None:
            return None
        self._asked_at[comparison.id] = time.monotonic()
        return view.snapshots.get(comparison.id)

    def select(self, image_set: str | None, protocol: str | None) -> Snapshot:
        """The snapshot of the comparison that a read selects; NotFoundError lists what there is.

        A name that the view does not know is looked up afresh once; so is a comparison nobody asked for before.
        """
        comparison = self.comparison(image_set, protocol)
        self._asked_at[comparison.id] = time.monotonic()
        held = self.view().snapshots.get(comparison.id)
        return held or self.refresh().snapshots[comparison.id]

    def comparison(self, image_set: str | None, protocol: str | None) -> Comparison:
        """The comparison that a read selects, as `select`, without its results."""
        try:
            return self.view().zoo.select_comparison(image_set, protocol)
        except NotFoundError:
            return self.look_again().zoo.select_comparison(image_set, protocol)

    def progress(self, comparison: Comparison) -> ComparisonProgress:
        """How far a comparison is: from its snapshot if that is held, else counted once a version."""
        view = self.view()
        snapshot = view.snapshots.get(comparison.id)
        if snapshot is not None:
            return read_comparison_progress(snapshot)
        version, counted = self._counted.get(comparison.id, (None, None))
        if counted is None or version != comparison.version:
            try:
                with self._reader.connect() as connection:
                    counted = count_progress(connection, view.zoo, comparison)
            except DBAPIError as error:
                raise explain(error) or error from error
            self._counted[comparison.id] = comparison.version, counted
        return counted

    def estimate_seconds(self) -> float | None:
        """Seconds until nothing is left in any comparison that measures; None while that cannot be told."""
        view, now = self.view(), time.monotonic()
        measuring = [each.id for each in view.zoo.comparisons if each.state is ComparisonState.MEASURING]
        self._asked_at |= dict.fromkeys(measuring, now)
        if not view.snapshots.keys() >= set(measuring):
            self.refresh()
        return self.pace.estimate_seconds()

    def backlog(self) -> Backlog:
        """What is left in the comparisons that measure, and for how long, if that can be told."""
        self.estimate_seconds()  # holds all of them
        return self.pace.backlog(self.view())

    def select_for_task(self, task_id: int) -> Snapshot | None:
        """The snapshot of the task's default or first comparison; None when nothing compares models of it."""
        comparison = self.view().zoo.comparison_of_task(task_id)
        return self.select(comparison.image_set, comparison.protocol) if comparison else None

    def _wanted(self) -> frozenset[int]:
        """The comparisons that somebody asked for lately."""
        since = time.monotonic() - self._forget_seconds
        return frozenset(each for each, asked in list(self._asked_at.items()) if asked >= since)

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
                started = time.monotonic()
                self.refresh()
                took = time.monotonic() - started
                self._ended.wait(min(max(QUIET_SECONDS, QUIET_SHARE * took), LONGEST_QUIET_SECONDS))
                self._wait_for_bell(driver)

    def _wait_for_bell(self, driver: "PsycopgConnection[object]") -> None:
        """Return at the first notification, or after the poll's time; end early when stopped."""
        until = time.monotonic() + self._poll_seconds
        while not self._ended.is_set() and (left := until - time.monotonic()) > 0:
            if list(driver.notifies(timeout=min(left, 0.2), stop_after=1)):
                return
