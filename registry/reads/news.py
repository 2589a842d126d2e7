"""Which models are measured: against every other one of their task, on every rung, in a comparison."""

from collections.abc import Iterable

from sqlalchemy import Connection, exists, select

from registry.comparisons import LIVE_STATES
from registry.reads.progress import Stage, read_progress
from registry.reads.snapshot import Snapshot
from registry.tables import ComparisonRow, ComparisonState, ImageSetRow, MilestoneRow, ModelRow


def measured_in(snapshots: Iterable[Snapshot]) -> list[tuple[int, int]]:
    """(comparison id, model id) of every model that is measured in one of the comparisons."""
    return [
        (snapshot.comparison.id, model.id)
        for snapshot in snapshots
        for model in snapshot.members
        if read_progress(snapshot, model).stage is Stage.MEASURED
    ]


def comparisons_with_news(connection: Connection) -> frozenset[int]:
    """The comparisons that measure and have live models which were never told to be measured there."""
    told = exists().where(MilestoneRow.comparison_id == ComparisonRow.id, MilestoneRow.model_id == ModelRow.id)
    query = (
        select(ComparisonRow.id)
        .join(ImageSetRow, ImageSetRow.id == ComparisonRow.image_set_id)
        .join(ModelRow, ModelRow.task_id == ImageSetRow.task_id)
        .where(
            ComparisonRow.state != ComparisonState.PAUSED,
            ModelRow.deleted_at.is_(None),
            ModelRow.network_id.is_not(None),
            ModelRow.state.in_(LIVE_STATES),
            ~told,
        )
        .distinct()
    )
    return frozenset(connection.scalars(query))
