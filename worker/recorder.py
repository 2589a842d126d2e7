"""Recording cells as they are measured: one that takes long by itself, quick ones a few together."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from sqlalchemy.orm import Session

from registry.database import Sessions, transaction
from registry.jobs import Claim, hold, more_urgent_waits
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

    def begin(self) -> None:
        """Say that the first cell is measured from now on."""
        self._since = time.monotonic()

    def add(self, record: TransferRecord, next_priority: int | None) -> bool:
        """Record the cell, now or soon; whether work was found waiting that goes before what would come next.

        next_priority: of what would come next; None: nothing, so that the cell waits for `recorded`.
        """
        self._records.append(record)
        few = len(self._records) < TOGETHER_CELLS and time.monotonic() - self._since < self.seconds
        return False if few or next_priority is None else self.flush(next_priority)

    def flush(self, next_priority: int | None = None) -> bool:
        """Record what is held; whether more urgent work waits. LostLeaseError unless the claim still stands.

        next_priority: of what would come next; None: that of the claim.
        """
        if not self._records:
            return False
        with self.recorded() as (session, _):
            return more_urgent_waits(session, self.claim, next_priority)

    @contextmanager
    def recorded(self) -> Iterator[tuple[Session, Sequence[int] | None]]:
        """A transaction under the claim that begins by recording what is held, and what `hold` returned.

        What follows in it commits with the cells, or not at all.
        """
        with transaction(self.sessions, self.ring) as session:
            if self._records:
                yield session, record_transfers(session, self.claim, self._records)
            else:
                yield session, hold(session, self.claim)
        self._records.clear()
        self._since = time.monotonic()


@contextmanager
def recording(sessions: Sessions, ring: Callable[[Lane], None], claimed: Claim, seconds: float) -> Iterator[Recorder]:
    """A recorder whose cells are all recorded at the end, however it comes: each was measured whole."""
    recorder = Recorder(sessions, ring, claimed, seconds)
    try:
        yield recorder
    finally:
        recorder.flush()
