"""How deep a model is measured, and for how long: archived models keep their scores and get no new ones.

Whoever calls has checked that the actor may change the model.
"""

from sqlalchemy import exists, select, update
from sqlalchemy.orm import Session

from registry.comparisons import LIVE_STATES, want_evaluations
from registry.errors import ConflictError, NotFoundError
from registry.jobs import fence_off
from registry.naming import own_name, resolve
from registry.tables import AttackRow, ModelRow, ModelState
from registry.versions import raise_all_versions


def archive_model(session: Session, reference: str) -> str:
    """Measure the model no more, keep its scores, and let go of its images beyond rung 0; return its name.

    Archiving an archived model changes nothing. ConflictError for one that is not prepared, or failed: it has no
    scores to keep. Results of a network that another live model names go on.
    """
    model = resolve(session, reference)
    if model.state is ModelState.ARCHIVED:
        return own_name(session, model.id)
    if model.network_id is None or model.state not in LIVE_STATES:
        raise ConflictError(
            f"model {reference!r} is {model.state} and has no scores to keep: wait until it is prepared, or delete it."
        )
    # jobs before models: the order in which workers lock too
    alone = not _used_by_another(session, model)
    if alone:
        fence_off(session, network_id=model.network_id)
        if _used_by_another(session, model):
            # a preparation that names this network has committed while its jobs were being locked
            want_evaluations(session, model.network_id, model.task_id)
            alone = False
    lock_model(session, model, reference)
    if model.state in LIVE_STATES:
        model.state, model.concern = ModelState.ARCHIVED, None
    session.flush()
    if alone:
        session.execute(
            update(AttackRow).where(AttackRow.network_id == model.network_id, AttackRow.rung > 0).values(images=None)
        )
    raise_all_versions(session)
    return own_name(session, model.id)


def unarchive_model(session: Session, reference: str) -> str:
    """Measure the model again, also against all that came since; return its name.

    It is `ready` at once; its accuracy is judged again when it is next evaluated. One that is not archived stays as
    it is.
    """
    model = resolve(session, reference)
    if model.state is not ModelState.ARCHIVED:
        return own_name(session, model.id)
    assert model.network_id is not None
    want_evaluations(session, model.network_id, model.task_id)
    lock_model(session, model, reference)
    if model.state is ModelState.ARCHIVED:
        model.state = ModelState.READY
    session.flush()
    raise_all_versions(session)
    return own_name(session, model.id)


def measure_to(session: Session, reference: str, last_rung: int) -> str:
    """Measure the model up to this rung (0: the prefix only, 1: all images) from now on; return its name.

    What is already recorded beyond it stays and is shown.
    """
    model = resolve(session, reference)
    if model.network_id is not None and model.state in LIVE_STATES:
        want_evaluations(session, model.network_id, model.task_id)
    lock_model(session, model, reference)
    model.last_rung = last_rung
    session.flush()
    raise_all_versions(session)
    return own_name(session, model.id)


def lock_model(session: Session, model: ModelRow, reference: str) -> None:
    """Lock the model and the others of its network, by id: all of them may be judged again, or changed together.

    NotFoundError when it was deleted meanwhile.
    """
    same = ModelRow.id == model.id
    if model.network_id is not None:
        same |= (ModelRow.network_id == model.network_id) & ModelRow.deleted_at.is_(None)
    locked = select(ModelRow).where(same).order_by(ModelRow.id).with_for_update()
    session.scalars(locked.execution_options(populate_existing=True)).all()
    if model.deleted_at is not None:
        raise NotFoundError(f"model {reference!r} was deleted meanwhile.")


def _used_by_another(session: Session, model: ModelRow) -> bool:
    """Whether another live model names the network: its results are then still wanted."""
    return session.execute(
        select(
            exists().where(
                ModelRow.network_id == model.network_id,
                ModelRow.id != model.id,
                ModelRow.deleted_at.is_(None),
                ModelRow.state.in_(LIVE_STATES),
            )
        )
    ).scalar_one()
