"""What a job's failure means for its subject: a sentence on the model or the analysis, and nobody else held back."""

from sqlalchemy import exists, select
from sqlalchemy.orm import Session

from registry.analyses import fail_analyses
from registry.jobs import Claim, fail, pass_over, retry_later, take_expired
from registry.models import fail_model, fail_network, lock_models, tell_of_network
from registry.results import refuse_cell
from registry.tables import ComparisonRow, ComparisonState, JobKind, JobRow, JobState
from registry.versions import raise_version

# In the order of what their failures lock, and tell webhooks of.
_BLAMED = (
    JobKind.PREPARE, JobKind.EVALUATE, JobKind.ATTACK, JobKind.TRANSFERS, JobKind.ANALYSE, JobKind.NOTIFY
)  # fmt: skip


def give_up(session: Session, claimed: Claim, reason: str) -> None:
    """End a job that cannot succeed: its row is failed and its subject says why.

    Where one cell of a transfers job is to blame, that cell is refused, and the others go on.
    """
    fail(session, claimed, reason)
    if not _put_cell_aside(session, session.get_one(JobRow, claimed.job_id)):
        _blame(session, claimed, reason)


def try_again(session: Session, claimed: Claim, reason: str) -> None:
    """Queue a job that failed for another attempt, or give it up when they are used up."""
    if not retry_later(session, claimed, reason):
        give_up(session, claimed, f"{reason} (after {claimed.attempt} attempts)")


def take_over(session: Session, lease_seconds: float) -> int:
    """Queue again what silent workers held, give up what killed several; return how many were given up."""
    ended = take_expired(session, lease_seconds)
    given_up = [job for job in ended if job.at_source is None]
    # of several jobs, too: first all models, by id; comparisons last, and those of single ones by id
    lock_models(
        session,
        models=[job.model_id for job in given_up if job.kind is JobKind.PREPARE],
        networks=[job.network_id for job in given_up if job.kind is JobKind.EVALUATE],
    )
    for job in sorted(given_up, key=lambda job: (_BLAMED.index(job.kind), job.comparison_id or 0)):
        assert job.failure is not None
        _blame(session, job, job.failure)
    for job in sorted(ended, key=lambda job: job.comparison_id or 0):
        _put_cell_aside(session, job)
    return len(given_up)


def _put_cell_aside(session: Session, job: JobRow) -> bool:
    """Refuse the cell that was at hand each time a transfers job failed; whether it was known (`jobs.note_cell`)."""
    if job.at_source is None or job.at_rung is None:
        return False
    assert job.comparison_id is not None
    assert job.network_id is not None
    assert job.failure is not None
    refuse_cell(session, job.comparison_id, job.network_id, job.at_source, rung=job.at_rung, reason=job.failure)
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
    elif job.kind is JobKind.EVALUATE and not _may_do_elsewhere(session, job):
        assert job.network_id is not None
        fail_network(session, job.network_id, f"it cannot be evaluated: {reason}")
    elif job.kind is not JobKind.NOTIFY:  # which is about nobody: its own row says why
        # it fails in one comparison: the job's row says so, other comparisons go on
        assert job.comparison_id is not None
        assert job.network_id is not None
        tell_of_network(session, job.network_id, f"its {job.kind} failed: {reason}", job.comparison_id)
        raise_version(session, job.comparison_id)


def _may_do_elsewhere(session: Session, job: Claim | JobRow) -> bool:
    """Whether the network was evaluated, or is still to be, in another comparison that measures."""
    return session.execute(
        select(
            exists().where(
                JobRow.kind == JobKind.EVALUATE,
                JobRow.network_id == job.network_id,
                JobRow.comparison_id != job.comparison_id,
                JobRow.state != JobState.FAILED,
                ComparisonRow.id == JobRow.comparison_id,
                ComparisonRow.state == ComparisonState.MEASURING,
            )
        )
    ).scalar_one()
