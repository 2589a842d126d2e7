"""What a job's failure means for its subject: a sentence on the model or the analysis, and nobody else held back."""

from sqlalchemy.orm import Session

from registry.analyses import fail_analyses
from registry.jobs import Claim, fail, pass_over, retry_later, take_expired
from registry.models import fail_model, fail_network, tell_of_network
from registry.results import refuse_cell
from registry.tables import JobKind, JobRow
from registry.versions import raise_version


def give_up(session: Session, claimed: Claim, reason: str) -> None:
    """End a job that cannot succeed: its row is failed and its subject says why.

    Where one cell of a transfers job is to blame, that cell is refused, and the others go on.
    """
    fail(session, claimed, reason)
    if not _put_cell_aside(session, session.get_one(JobRow, claimed.job_id), reason):
        _blame(session, claimed, reason)


def try_again(session: Session, claimed: Claim, reason: str) -> None:
    """Queue a job that failed for another attempt, or give it up when they are used up."""
    if not retry_later(session, claimed, reason):
        give_up(session, claimed, f"{reason} (after {claimed.attempt} attempts)")


def take_over(session: Session, lease_seconds: float) -> int:
    """Queue again what silent workers held, give up what killed several; return how many were given up."""
    given_up = 0
    for job in take_expired(session, lease_seconds):
        assert job.failure is not None
        reason = job.failure
        if not _put_cell_aside(session, job, reason):
            _blame(session, job, reason)
            given_up += 1
    return given_up


def _put_cell_aside(session: Session, job: JobRow, reason: str) -> bool:
    """Refuse the cell that was at hand each time a transfers job failed; whether it was known (`jobs.note_cell`)."""
    if job.at_source is None or job.at_rung is None:
        return False
    assert job.comparison_id is not None
    assert job.network_id is not None
    refuse_cell(session, job.comparison_id, job.network_id, job.at_source, rung=job.at_rung, reason=reason)
    pass_over(session, job)
    raise_version(session, job.comparison_id)
    return True


def _blame(session: Session, job: Claim | JobRow, reason: str) -> None:
    if job.kind is JobKind.PREPARE:
        assert job.model_id is not None
        fail_model(session, job.model_id, reason)
    elif job.kind is JobKind.ANALYSE:
        assert job.comparison_id is not None
        fail_analyses(session, job.comparison_id, reason)
    elif job.kind is JobKind.EVALUATE:
        assert job.network_id is not None
        fail_network(session, job.network_id, f"it cannot be evaluated: {reason}")
    elif job.kind is not JobKind.NOTIFY:  # which is about nobody: its own row says why
        # an attack or its transfers fail in one comparison: the job's row says so, other comparisons go on
        assert job.comparison_id is not None
        assert job.network_id is not None
        tell_of_network(session, job.network_id, f"its {job.kind} failed: {reason}", job.comparison_id)
        raise_version(session, job.comparison_id)
