"""Recording cells as they are measured: one that takes long by itself, quick ones a few together."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from registry.database import Sessions, transaction
from registry.jobs import Claim, more_urgent_waits
from registry.results import TransferRecord, record_transfers
from registry.tables import Lane

# A transaction costs a few milliseconds, and a cell of 500 images on a GPU as much; more than so many gain no more.
TOGETHER_CELLS = 64


@dataclass(slots=True)
class Recorder:
    """Holds measured cells until they took `seconds` together, then records them in one transaction.

    So much, beside the cell at hand, is what a killed worker loses.
    """

    sessions: Sessions
    ring: Callable[[Lane], None]
    claim: Claim
    seconds: float
    _records: list[TransferRecord] = field(default_factory=list)
    _since: float = field(default_factory=time.monotonic)

    def add(self, record: TransferRecord, *, next_priority: int | None = None) -> bool:
        """Record the cell, now or soon; whether work was found waiting that goes before what would come next."""
        self._records.append(record)
        if len(self._records) < TOGETHER_CELLS and time.monotonic() - self._since < self.seconds:
            return False
        return self.flush(next_priority=next_priority)

    def flush(self, *, next_priority: int | None = None) -> bool:
        """Record what is held; whether more urgent work waits. LostLeaseError unless the claim still stands.

        next_priority: of what would come next; None: that of the claim.
        """
        if not self._records:
            return False
        with transaction(self.sessions, self.ring) as session:
            record_transfers(session, self.claim, self._records)
            urgent = more_urgent_waits(session, self.claim, next_priority)
        self._records.clear()
        self._since = time.monotonic()
        return urgent


@contextmanager
def recording(sessions: Sessions, ring: Callable[[Lane], None], claimed: Claim, seconds: float) -> Iterator[Recorder]:
    """A recorder whose cells are all recorded at the end, however it comes: each was measured whole."""
    recorder = Recorder(sessions, ring, claimed, seconds)
    try:
        yield recorder
    finally:
        recorder.flush()
