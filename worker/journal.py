"""What a worker's log says of a job: every line written during it carries its ids; the last says how long it took."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import structlog
from sqlalchemy.exc import SQLAlchemyError

from registry.jobs import Claim
from registry.reads.jobs import name_subject
from worker.context import Context

log = structlog.get_logger(__name__)


@contextmanager
def noting(context: Context, claimed: Claim) -> Iterator[None]:
    """Bind the job's ids and names to this thread's log while the block runs."""
    ids = {"job": claimed.job_id, "kind": str(claimed.kind), "attempt": claimed.attempt, "fence": claimed.fence}
    with structlog.contextvars.bound_contextvars(**ids, **_names(context, claimed), worker=context.worker_id):
        log.info("job %s: %s starts (attempt %s)", claimed.job_id, claimed.kind, claimed.attempt)
        started = time.perf_counter()
        try:
            yield
        finally:
            seconds = round(time.perf_counter() - started, 3)
            log.info("job %s: %s ends", claimed.job_id, claimed.kind, seconds=seconds)


def _names(context: Context, claimed: Claim) -> dict[str, str | None]:
    try:
        with context.sessions.begin() as session:
            model, comparison = name_subject(session, claimed.job_id)
    except SQLAlchemyError:
        return {}  # the job will say that the database does not answer
    return {"model": model, "comparison": comparison}
