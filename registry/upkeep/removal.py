"""Deleted models past their retention: their rows and results go, in the order in which everything locks.

One transaction a model: its job rows first, then its network (never waited for: a preparation may be reusing it),
then the model, and last what hangs on the network. A model that is restored meanwhile stays.
"""

from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import ColumnElement, delete, exists, func, or_, select, update
from sqlalchemy.orm import Session, aliased

from registry.access import LOCAL, record_audit
from registry.database import Sessions
from registry.intervals import seconds
from registry.jobs import lock_jobs
from registry.tables import (
    AnalysisRow,
    ArtifactRow,
    AttackRow,
    EvaluationRow,
    JobRow,
    ModelRow,
    NetworkRow,
    PairRow,
    RefusalRow,
    TransferRow,
)


class Removed(NamedTuple):
    """Whether a model went, and whether its network went with it."""

    model: bool
    network: bool


NOTHING = Removed(model=False, network=False)


def models_due(session: Session, deleted_seconds: float) -> list[int]:
    """The deleted models that can no longer be restored, by id."""
    return list(session.scalars(select(ModelRow.id).where(_is_due(deleted_seconds)).order_by(ModelRow.id)))


def networks_due(session: Session, models: Sequence[int], unreferenced_seconds: float) -> list[int]:
    """The networks that no model will name once these models are gone, by id; the newest are given time."""
    return list(
        session.scalars(
            select(NetworkRow.id)
            .where(
                ~exists().where(ModelRow.network_id == NetworkRow.id, ModelRow.id.not_in(models)),
                or_(
                    NetworkRow.created_at < func.now() - seconds(unreferenced_seconds),
                    exists().where(ModelRow.network_id == NetworkRow.id),
                ),
            )
            .order_by(NetworkRow.id)
        )
    )


def remove_model(sessions: Sessions, model_id: int, deleted_seconds: float) -> Removed:
    """Remove a deleted model, and its network with all results if no other model names it."""
    with sessions.begin() as session:
        network_id = session.scalars(select(ModelRow.network_id).where(ModelRow.id == model_id)).one_or_none()
        last = network_id is not None and not _is_named(session, network_id, but=model_id)
        subject = JobRow.model_id == model_id
        lock_jobs(session, or_(subject, JobRow.network_id == network_id) if last else subject)
        if last and not _lock_network(session, network_id):
            return NOTHING
        model = session.scalars(
            select(ModelRow).where(ModelRow.id == model_id, _is_due(deleted_seconds)).with_for_update()
        ).one_or_none()
        if model is None or model.network_id != network_id:
            return NOTHING
        record_audit(session, LOCAL, "model.collect", model.deleted_name or "", {"id": model_id})
        _let_go(session, [model.checkpoint])
        session.execute(delete(JobRow).where(subject))
        session.execute(delete(ModelRow).where(ModelRow.id == model_id))
        if not last or network_id is None or _is_named(session, network_id):
            return Removed(model=True, network=False)
        _remove_network(session, network_id)
    return Removed(model=True, network=True)


def remove_network(sessions: Sessions, network_id: int) -> Removed:
    """Remove a network that no model names, with all results."""
    with sessions.begin() as session:
        lock_jobs(session, JobRow.network_id == network_id)
        if not _lock_network(session, network_id) or _is_named(session, network_id):
            return NOTHING
        _remove_network(session, network_id)
    return Removed(model=False, network=True)


def _is_due(deleted_seconds: float) -> ColumnElement[bool]:
    return ModelRow.deleted_at < func.now() - seconds(deleted_seconds)


def _lock_network(session: Session, network_id: int | None) -> bool:
    """Whether nobody is about to refer to the network; from now on, who wants to waits."""
    found = select(NetworkRow.id).where(NetworkRow.id == network_id).with_for_update(skip_locked=True)
    return session.scalars(found).one_or_none() is not None


def _is_named(session: Session, network_id: int, but: int | None = None) -> bool:
    other = aliased(ModelRow)
    named = exists().where(other.network_id == network_id)
    return session.execute(select(named if but is None else named.where(other.id != but))).scalar_one()


def _remove_network(session: Session, network_id: int) -> None:
    """Remove a locked network that no model names, and everything that hangs on it."""
    network = session.get_one(NetworkRow, network_id)
    logits = session.scalars(select(EvaluationRow.logits).where(EvaluationRow.network_id == network_id)).all()
    images = session.scalars(select(AttackRow.images).where(AttackRow.network_id == network_id)).all()
    # as whoever records cells does: attacks before transfers
    attacks = select(AttackRow.rung).where(AttackRow.network_id == network_id)
    session.execute(attacks.order_by(AttackRow.comparison_id, AttackRow.rung).with_for_update()).all()
    _let_go(session, [network.weights, *logits, *images])
    for hanging in (
        delete(RefusalRow).where(or_(RefusalRow.source_id == network_id, RefusalRow.target_id == network_id)),
        delete(TransferRow).where(or_(TransferRow.source_id == network_id, TransferRow.target_id == network_id)),
        delete(AttackRow).where(AttackRow.network_id == network_id),
        delete(EvaluationRow).where(EvaluationRow.network_id == network_id),
        delete(PairRow).where(or_(PairRow.a_id == network_id, PairRow.b_id == network_id)),
        # an ensemble's worth is kept for good, so it would name the network for good
        delete(AnalysisRow).where(
            or_(*(AnalysisRow.parameters[names].contains([network_id]) for names in ("members", "candidates")))
        ),
        delete(JobRow).where(JobRow.network_id == network_id),
        delete(NetworkRow).where(NetworkRow.id == network_id),
    ):
        session.execute(hanging)


def _let_go(session: Session, artifacts: Sequence[bytes | None]) -> None:
    """Begin the time after which bytes that nothing refers to are deleted."""
    held = sorted({sha256 for sha256 in artifacts if sha256 is not None})
    session.execute(update(ArtifactRow).where(ArtifactRow.sha256.in_(held)).values(touched_at=func.now()))
