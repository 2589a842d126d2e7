"""What all requests of a process may hold at once, of which one key gets a share."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from registry.errors import UnavailableError


class Budget:
    """So many units in all, and at most `share` of them for one holder. For one thread: the event loop's.

    full: what is said when no more can be taken.
    """

    def __init__(self, total: int, share: int, full: str) -> None:
        self.full = full
        self._total = total
        self._share = share
        self._held: Counter[str] = Counter()
        self._all = 0

    @contextmanager
    def holding(self, holder: str) -> Iterator["Held"]:
        """What the holder takes within the block; given back at its end."""
        held = Held(self, holder)
        try:
            yield held
        finally:
            self.change(holder, -held.units)

    def fits(self, holder: str, units: int) -> bool:
        """Whether the holder may take so many more now."""
        return self._all + units <= self._total and self._held[holder] + units <= self._share

    def change(self, holder: str, units: int) -> None:
        """Count so many units more, or fewer."""
        self._all += units
        self._held[holder] += units
        if not self._held[holder]:
            del self._held[holder]


class Held:
    """What one request has taken."""

    def __init__(self, budget: Budget, holder: str) -> None:
        self._budget = budget
        self._holder = holder
        self.units = 0

    def take(self, units: int) -> None:
        """So many more; UnavailableError where they do not fit now."""
        if not self._budget.fits(self._holder, units):
            raise UnavailableError(self._budget.full)
        self._budget.change(self._holder, units)
        self.units += units
