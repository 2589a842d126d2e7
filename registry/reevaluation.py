"""Measuring a network anew: for a device, precision or release that computes other clean bits than were recorded."""

from sqlalchemy import delete, or_, select
from sqlalchemy.orm import Session

from registry.access import Actor, record_audit
from registry.comparisons import LIVE_STATES
from registry.errors import ConflictError
from registry.jobs import fence_off
from registry.naming import own_name, resolve
from registry.tables import (
    AnalysisRow,
    AttackRow,
    EvaluationRow,
    JobKind,
    ModelRow,
    ModelState,
    PairRow,
    RefusalRow,
    TransferRow,
)
from registry.versions import raise_all_versions
from registry.wanting import want


def re_evaluate(session: Session, reference: str, *, actor: Actor) -> list[str]:
    """Forget all results of a model's network and measure them anew; return the names of its models.

    The models are `received` until their network has been prepared again, so that no answer mixes old scores with new.
    Whichever worker evaluates the network first decides on its numeric path. ConflictError where there is nothing
    to measure anew.
    """
    model = resolve(session, reference)
    if model.network_id is None or model.state not in LIVE_STATES:
        raise ConflictError(
            f"model {reference!r} is {model.state}, and only what is ready or suspect can be measured anew: retry a "
            "failed model, unarchive an archived one, or wait until it is prepared."
        )
    network_id = model.network_id
    live = (ModelRow.network_id == network_id, ModelRow.deleted_at.is_(None), ModelRow.state.in_(LIVE_STATES))
    # jobs before models, models before pairs, comparisons last: the order of every other transaction
    fence_off(session, network_id=network_id)
    for model_id in session.scalars(select(ModelRow.id).where(*live).order_by(ModelRow.id)).all():
        want(session, JobKind.PREPARE, model_id=model_id)
    models = session.scalars(select(ModelRow).where(*live).order_by(ModelRow.id).with_for_update()).all()
    for each in models:
        each.state, each.failure, each.concern = ModelState.RECEIVED, None, None
    _forget(session, network_id)
    names = [own_name(session, each.id) for each in models]
    record_audit(session, actor, "model.re-evaluate", names[0], {"models": names})
    session.flush()
    raise_all_versions(session, forgetting=True)
    return names


def _forget(session: Session, network_id: int) -> None:
    # from now on no cell of these attacks can be recorded, and those that were being recorded are there to be seen
    attacks = select(AttackRow).where(AttackRow.network_id == network_id)
    session.scalars(attacks.order_by(AttackRow.comparison_id, AttackRow.rung).with_for_update()).all()
    for hanging in (
        delete(RefusalRow).where(or_(RefusalRow.source_id == network_id, RefusalRow.target_id == network_id)),
        delete(TransferRow).where(or_(TransferRow.source_id == network_id, TransferRow.target_id == network_id)),
        delete(AttackRow).where(AttackRow.network_id == network_id),
        delete(EvaluationRow).where(EvaluationRow.network_id == network_id),
        delete(PairRow).where(or_(PairRow.a_id == network_id, PairRow.b_id == network_id)),
        # an ensemble's worth is kept for good, and was computed from logits that are no more
        delete(AnalysisRow).where(
            or_(*(AnalysisRow.parameters[names].contains([network_id]) for names in ("members", "candidates")))
        ),
    ):
        session.execute(hanging)
