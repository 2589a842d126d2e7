"""One bell: claim the most urgent job, run it, and so on until the lane is empty."""

import logging
import time
from collections.abc import Callable, Mapping

from sqlalchemy.exc import InterfaceError, OperationalError

from registry.database import transaction
from registry.errors import RegistryError, UnavailableError
from registry.faults import give_up, try_again
from registry.jobs import Claim, LostLeaseError, claim, give_back
from registry.tables import JobKind, Lane
from sat_engine.errors import EngineError
from worker.context import Context, StoppingError
from worker.lease import Lease, keeping

log = logging.getLogger(__name__)

Task = Callable[[Context, Lease], None]
# A drained lane returns to Celery, which then hears shutdowns and other lanes' bells.
SLICE_SECONDS = 60.0
# serialization_failure, deadlock_detected, lock_not_available
CONTENTION = frozenset({"40001", "40P01", "55P03"})


def drain(context: Context, lane: Lane, tasks: Mapping[JobKind, Task]) -> int:
    """Run the lane's queued jobs until there are none, or for a minute; return how many ran."""
    ran, deadline = 0, time.monotonic() + SLICE_SECONDS
    while not context.stopping.is_set():
        with context.sessions.begin() as session:
            claimed = claim(session, (lane,), context.worker_id, context.settings.lease_seconds)
        if claimed is None:
            return ran
        run(context, claimed, tasks[claimed.kind])
        ran += 1
        if time.monotonic() > deadline:
            context.bell.ring(lane)
            return ran
    return ran


def run(context: Context, claimed: Claim, task: Task) -> None:
    """Run one claimed job; whatever happens, its row says so."""
    log.info("job %s: %s starts (attempt %s)", claimed.job_id, claimed.kind, claimed.attempt)
    try:
        with keeping(context, claimed) as lease:
            task(context, lease)
    except LostLeaseError:
        log.warning("job %s: fenced off; nothing more of it is recorded here", claimed.job_id)
    except StoppingError:
        _settle(context, claimed, give_back)
    except (OperationalError, InterfaceError) as error:
        log.warning("job %s: %s", claimed.job_id, error)
        if _is_contention(error):
            _settle(context, claimed, give_back)
        else:
            # the database went away: the lease runs out and the reconciler queues the job again
            time.sleep(1)
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
        log.exception("job %s failed", claimed.job_id)
        said = str(error).replace("\0", " ")[:2000]
        reason = f"it raised {type(error).__name__} ({said}); worker {context.worker_id} logged the traceback"
        _settle(context, claimed, lambda session, held: try_again(session, held, reason))


def _is_contention(error: OperationalError | InterfaceError) -> bool:
    """Whether this transaction lost against another one, and the next try may win."""
    return getattr(error.orig, "sqlstate", None) in CONTENTION


def _settle(context: Context, claimed: Claim, how: Callable[..., None]) -> None:
    try:
        with transaction(context.sessions, context.bell.ring) as session:
            how(session, claimed)
    except LostLeaseError:
        log.warning("job %s: fenced off before it could be settled", claimed.job_id)
