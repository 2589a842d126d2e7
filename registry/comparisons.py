"""Comparisons: an image set and a protocol on which models are measured."""

from collections.abc import Sequence

from sqlalchemy import ColumnElement, exists, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import InstrumentedAttribute, Session

from registry.access import LOCAL, Actor, record_audit
from registry.conditions import Seen, require_seen, state_of
from registry.declarations import ComparisonChange, ComparisonDeclaration
from registry.errors import NotFoundError
from registry.reads.measuring import get_image_set
from registry.tables import (
    ComparisonRow,
    ComparisonState,
    ImageSetRow,
    JobKind,
    ModelRow,
    ModelState,
    NetworkRow,
    ProtocolRow,
)
from registry.tasks import settle_tasks
from registry.versions import raise_version
from registry.wanting import want

LIVE_STATES = (ModelState.READY, ModelState.SUSPECT)


def is_live(
    network_id: ColumnElement[int] | InstrumentedAttribute[int],
    states: Sequence[ModelState] = LIVE_STATES,
    *,
    rung: int | ColumnElement[int] | InstrumentedAttribute[int] = 0,
) -> ColumnElement[bool]:
    """SQL: some model that is not deleted, in one of these states, and to be measured to this rung, has the network."""
    return exists().where(
        ModelRow.network_id == network_id,
        ModelRow.deleted_at.is_(None),
        ModelRow.state.in_(states),
        ModelRow.last_rung >= rung,
    )


def create_comparison(session: Session, declaration: ComparisonDeclaration, *, actor: Actor = LOCAL) -> ComparisonRow:
    """The comparison of that image set and protocol, made if it is new; it measures only when asked to.

    No network becomes live meanwhile: it would not see this comparison, nor this one it.
    """
    settle_tasks(session, alone=True)
    image_set, protocol = _named(session, declaration.image_set, declaration.protocol)
    first = not session.execute(select(exists().where(ComparisonRow.is_default))).scalar_one()
    session.execute(
        insert(ComparisonRow)
        .values(image_set_id=image_set.id, protocol_id=protocol.id, state=ComparisonState.PAUSED)
        .on_conflict_do_nothing()
    )
    make_default = declaration.default if declaration.default is not None else first
    change = ComparisonChange(state=declaration.state, default=True if make_default else None)
    return change_comparison(session, declaration.image_set, declaration.protocol, change, actor=actor)


def change_comparison(
    session: Session,
    image_set_name: str,
    protocol_name: str,
    change: ComparisonChange,
    *,
    seen: Seen = None,
    actor: Actor = LOCAL,
) -> ComparisonRow:
    """Pause, resume, or make default. What is still to be measured is asked for; a paused comparison's jobs wait.

    seen: the states that the caller has seen (StaleError when it is in another).
    """
    image_set, protocol = _named(session, image_set_name, protocol_name)
    comparison = session.scalars(
        select(ComparisonRow).where(
            ComparisonRow.image_set_id == image_set.id, ComparisonRow.protocol_id == protocol.id
        )
    ).one_or_none()
    if comparison is None:
        raise NotFoundError(
            f"image set {image_set_name!r} and protocol {protocol_name!r} are not compared yet: POST /comparisons."
        )
    # jobs before comparisons, and these by id: the order in which every transaction locks
    want_everything(session, comparison)
    for row in session.scalars(
        select(ComparisonRow)
        .order_by(ComparisonRow.id)
        # not the key: rows that are being inserted refer to it
        .with_for_update(key_share=True)
        .execution_options(populate_existing=True)
    ):
        if change.default and row is not comparison:
            row.is_default = False
    require_seen(seen, (comparison_state(comparison.state, is_default=comparison.is_default),), "the comparison")
    session.flush()
    before = (comparison.state, comparison.is_default)
    comparison.is_default = comparison.is_default or change.default is True
    comparison.state = change.state or comparison.state
    session.flush()
    if before != (comparison.state, comparison.is_default):
        detail = {"state": comparison.state.value, "default": comparison.is_default}
        record_audit(session, actor, "comparison.change", f"{image_set_name}/{protocol_name}", detail)
    raise_version(session, comparison.id)
    session.refresh(comparison)
    return comparison


def comparison_state(state: ComparisonState, *, is_default: bool) -> str:
    """What people change of a comparison."""
    return state_of(state.value, is_default)


def want_everything(session: Session, comparison: ComparisonRow) -> None:
    """Ask for an evaluation of every live network of the task; what is already recorded is found and skipped."""
    networks = session.scalars(
        select(NetworkRow.id)
        .join(ImageSetRow, ImageSetRow.task_id == NetworkRow.task_id)
        .where(ImageSetRow.id == comparison.image_set_id, is_live(NetworkRow.id))
        .order_by(NetworkRow.id)
    )
    for network_id in networks.all():
        want(session, JobKind.EVALUATE, network_id=network_id, comparison_id=comparison.id)


def want_evaluations(session: Session, network_id: int, task_id: int) -> None:
    """Ask for a network's evaluation on every comparison of its task (a paused one keeps it queued)."""
    comparisons = session.scalars(
        select(ComparisonRow.id)
        .join(ImageSetRow, ImageSetRow.id == ComparisonRow.image_set_id)
        .where(ImageSetRow.task_id == task_id)
        .order_by(ComparisonRow.id)
    )
    for comparison_id in comparisons.all():
        want(session, JobKind.EVALUATE, network_id=network_id, comparison_id=comparison_id)


def _named(session: Session, image_set_name: str, protocol_name: str) -> tuple[ImageSetRow, ProtocolRow]:
    image_set, _ = get_image_set(session, image_set_name)
    protocol = session.scalars(select(ProtocolRow).where(ProtocolRow.name == protocol_name)).one_or_none()
    if protocol is None:
        names = ", ".join(session.scalars(select(ProtocolRow.name).order_by(ProtocolRow.name)))
        raise NotFoundError(f"there is no protocol {protocol_name!r}. Protocols: {names}.")
    return image_set, protocol
