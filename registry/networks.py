"""Networks: what prepare makes of a declaration; immutable from then on."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import ScalarSelect, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from registry.comparisons import want_evaluations
from registry.jobs import Claim, hold
from registry.tables import (
    ComparisonRow,
    EvaluationRow,
    ImageSetRow,
    ModelRow,
    ModelState,
    NetworkRow,
    Part,
    TaskRow,
)
from registry.tasks import settle_tasks
from registry.versions import raise_all_versions
from sat_engine.accuracy import is_near_chance

# Percentage points between the accuracy that was declared and the one that is measured.
TOLERATED_POINTS = 3.0
WHAT_TO_CHECK = "Check mean and std, the channels (RGB or BGR, 1 or 3), the input size, and the order of `classes`."


@dataclass(frozen=True, kw_only=True, slots=True)
class PreparedNetwork:
    """Everything that makes a network and describes it."""

    digest: bytes
    architecture: str
    model_args: dict[str, Any]
    input_side: int
    channels: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    class_map: tuple[int, ...]
    components: dict[str, str | None]
    base: str | None
    family: str | None
    parameters: int
    macs: int
    weights: bytes


def record_prepared(session: Session, claimed: Claim, prepared: PreparedNetwork) -> None:
    """Tie the claim's model to its network (made if it is new) and ask for what is still to be measured.

    A network that another model already brought is reused, with all its results.
    """
    assert claimed.model_id is not None
    settle_tasks(session, alone=False)  # a comparison that is just being made sees the network, or is seen
    hold(session, claimed)
    model = session.get_one(ModelRow, claimed.model_id)
    session.execute(
        insert(NetworkRow)
        .values(
            digest=prepared.digest,
            task_id=model.task_id,
            architecture=prepared.architecture,
            model_args=prepared.model_args,
            input_side=prepared.input_side,
            channels=prepared.channels,
            mean=list(prepared.mean),
            std=list(prepared.std),
            class_map=list(prepared.class_map),
            components=prepared.components,
            base=prepared.base,
            family=prepared.family,
            parameters=prepared.parameters,
            macs=prepared.macs,
            weights=prepared.weights,
        )
        .on_conflict_do_nothing(index_elements=[NetworkRow.digest])
    )
    network_id = session.scalars(
        # garbage collection leaves a network alone that is locked here
        select(NetworkRow.id).where(NetworkRow.digest == prepared.digest).with_for_update(read=True, key_share=True)
    ).one()
    want_evaluations(session, network_id, model.task_id)
    session.refresh(model, with_for_update=True)
    if model.deleted_at is None:
        model.network_id = network_id
        model.state, model.failure, model.concern = ModelState.READY, None, None
    session.flush()
    raise_all_versions(session)


def judge_accuracy(session: Session, network_id: int) -> None:
    """Mark the network's models suspect where the measured accuracy says that something is wrong with them.

    One image set of the task decides (the default comparison's, else the first), so that a harder one beside it makes
    nobody suspect; its report part is not read, since suspects are left out of recommendations.
    """
    correct, n = session.execute(
        select(func.sum(EvaluationRow.n_correct), func.sum(EvaluationRow.n)).where(
            EvaluationRow.network_id == network_id,
            EvaluationRow.image_set_id == _judging_image_set(network_id),
            EvaluationRow.part != Part.REPORT,
        )
    ).one()
    if not n:
        return
    accuracy = correct / n
    classes = session.scalars(
        select(func.cardinality(TaskRow.classes))
        .join(NetworkRow, NetworkRow.task_id == TaskRow.id)
        .where(NetworkRow.id == network_id)
    ).one()
    models = session.scalars(
        select(ModelRow)
        .where(
            ModelRow.network_id == network_id,
            ModelRow.deleted_at.is_(None),
            ModelRow.state.in_((ModelState.READY, ModelState.SUSPECT)),
        )
        .order_by(ModelRow.id)
        .with_for_update()
    )
    for model in models.all():
        concern = _concern(accuracy, n, classes, model.expected_accuracy)
        model.state = ModelState.SUSPECT if concern else ModelState.READY
        model.concern = concern
    session.flush()
    raise_all_versions(session)


def _judging_image_set(network_id: int) -> ScalarSelect[int]:
    return (
        select(ImageSetRow.id)
        .join(ComparisonRow, ComparisonRow.image_set_id == ImageSetRow.id)
        .join(NetworkRow, NetworkRow.task_id == ImageSetRow.task_id)
        .where(NetworkRow.id == network_id)
        .order_by(ComparisonRow.is_default.desc(), ComparisonRow.id)
        .limit(1)
        .scalar_subquery()
    )


def _concern(accuracy: float, n: int, classes: int, expected: float | None) -> str | None:
    measured = f"it gets {accuracy:.1%} of {n} images right"
    if is_near_chance(accuracy, classes):
        return f"{measured}, where guessing gets {1 / classes:.1%}. {WHAT_TO_CHECK}"
    if expected is not None and 100 * abs(accuracy - expected) > TOLERATED_POINTS:
        return f"{measured}, where {expected:.1%} was expected. {WHAT_TO_CHECK}"
    return None
