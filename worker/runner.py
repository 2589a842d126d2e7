"""One bell: claim the most urgent job, run it, and so on until the lane is empty."""

import errno
import logging
import time
from collections.abc import Callable, Mapping

from sqlalchemy.exc import DBAPIError

from registry.database import DATABASE_FAULTS, transaction
from registry.errors import RegistryError, UnavailableError
from registry.faults import give_up, try_again
from registry.jobs import Claim, LostLeaseError, claim, give_back
from registry.tables import JobKind, Lane
from sat_engine.errors import EngineError
from worker.context import Context, StoppingError
from worker.journal import noting
from worker.lease import Lease, keeping

log = logging.getLogger(__name__)

Task = Callable[[Context, Lease], None]
# A drained lane returns to Celery, which then hears shutdowns and other lanes' bells.
SLICE_SECONDS = 60.0
# Between two tries to write down how a job ended while the database is away.
SETTLE_SECONDS = 0.5
# SQLSTATE classes: connection exception, operator intervention (a shutdown), transaction rollback (a deadlock);
# and two states: lock not available, a transaction that waited for this process for too long.
PASSING = ("08", "57", "40", "55P03", "25P03")
# disk full, quota exceeded
FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


def drain(context: Context, lane: Lane, tasks: Mapping[JobKind, Task]) -> int:
    """Run the lane's queued jobs until there are none, or for a minute; return how many ran."""
    ran, deadline = 0, time.monotonic() + SLICE_SECONDS
    while not context.stopping.is_set() and not context.standing.leaving:
        try:
            with context.sessions.begin() as session:
                claimed = claim(session, (lane,), context.worker_id, context.settings.lease_seconds)
        except DATABASE_FAULTS as error:
            # if it was claimed and only the answer was lost, the lease runs out; the reconciler rings again
            log.warning("nothing could be claimed: %s", error)
            return ran
        if claimed is None:
            return ran
        with context.standing.at_work(), noting(context, claimed):
            run(context, claimed, tasks[claimed.kind])
        ran += 1
        if time.monotonic() > deadline:
            context.bell.ring(lane)
            return ran
    return ran


def run(context: Context, claimed: Claim, task: Task) -> None:
    """Run one claimed job; whatever happens, its row says so."""
    try:
        with keeping(context, claimed) as lease:
            task(context, lease)
    except LostLeaseError:
        log.warning("job %s: fenced off; nothing more of it is recorded here", claimed.job_id)
    except StoppingError:
        _settle(context, claimed, give_back)
    except DATABASE_FAULTS as error:
        # not the network's fault, either
        log.warning("job %s: %s", claimed.job_id, error)
        refusal = None if _passes_at_once(error) else f"the database refuses: {error.orig}"
        _settle(context, claimed, lambda session, held: give_back(session, held, reason=refusal))
    except UnavailableError as error:
        # not the network's fault, and it passes: no attempt is counted
        log.warning("job %s waits: %s", claimed.job_id, error)
        reason = str(error)
        _settle(context, claimed, lambda session, held: give_back(session, held, reason=reason))
    except (EngineError, RegistryError) as error:
        log.warning("job %s: %s", claimed.job_id, error)
        reason = str(error)
        _settle(context, claimed, lambda session, held: give_up(session, held, reason))
    except Exception as error:  # whatever a network's code raises is that network's failure
        if isinstance(error, OSError) and error.errno in FULL:
            log.warning("job %s waits: %s", claimed.job_id, error)
            reason = f"the disk is full ({error}): free some space"
            _settle(context, claimed, lambda session, held: give_back(session, held, reason=reason))
            return
        log.exception("job %s failed", claimed.job_id)
        said = str(error).replace("\0", " ")[:2000]
        reason = f"it raised {type(error).__name__} ({said}); worker {context.worker_id} logged the traceback"
        _settle(context, claimed, lambda session, held: try_again(session, held, reason))


def _passes_at_once(error: DBAPIError) -> bool:
    """Whether the connection broke, or another transaction was in the way: the next try may succeed."""
    sqlstate = getattr(error.orig, "sqlstate", None)
    return sqlstate is None or sqlstate.startswith(PASSING)


def _settle(context: Context, claimed: Claim, how: Callable[..., None]) -> None:
    """Write down how the job ended; while the database is away there is nothing else to do than to try again."""
    while True:
        try:
            with transaction(context.sessions, context.bell.ring) as session:
                how(session, claimed)
        except LostLeaseError:
            log.warning("job %s: fenced off before it could be settled", claimed.job_id)
        except DATABASE_FAULTS as error:
            log.warning("job %s cannot be settled yet: %s", claimed.job_id, error)
            if not context.stopping.wait(SETTLE_SECONDS):
                continue
        return
