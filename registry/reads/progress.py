"""How far the measuring of a model, and of a comparison, has come."""

from collections import defaultdict
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from sqlalchemy import Connection, case, func, select

from registry.reads.snapshot import Snapshot
from registry.reads.zoo import Comparison, Model, Zoo
from registry.tables import ModelState, PairRow


class Stage(StrEnum):
    """What a model is waiting for."""

    WAITING = "waiting for an image set"
    PREPARING = "preparing"
    EVALUATING = "evaluating"
    ATTACKING = "attacking"
    TRANSFERRING = "transferring"
    MEASURED = "measured"
    FAILED = "failed"


@dataclass(frozen=True, kw_only=True, slots=True)
class Progress:
    """One model's. pairs: with the other measured models; cells: directed ones, each on every rung.

    complete: nothing is left to do, refused cells counted as done. prefix_complete: nothing on rung 0.
    fraction: of the forward passes that attack and cells need. reason: what failed, or could not be measured.
    """

    stage: Stage
    reason: str | None = None
    pairs_measured: int = 0
    pairs: int = 0
    cells_measured: int = 0
    cells: int = 0
    complete: bool = False
    prefix_complete: bool = False
    fraction: float = 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class ComparisonProgress:
    """A comparison's, counted in networks: two models may share one."""

    networks: int
    cells: int
    cells_measured: int
    pairs: int
    pairs_measured: int


def count_missing(snapshot: Snapshot, model: Model) -> int:
    """The other members whose score with this model is still to come."""
    others = [other for other in snapshot.members if other.id != model.id]
    here = snapshot.row(model)
    if here is None:
        return len(others)
    there = [snapshot.row(other) for other in others]
    return sum(
        snapshot.cells.n[here, row] < 0
        and frozenset({int(snapshot.cells.networks[here]), int(snapshot.cells.networks[row])}) not in snapshot.refused
        for row in there
        if row is not None
    )


def read_progress(snapshot: Snapshot | None, model: Model) -> Progress:
    """The model's progress in a comparison of its task; snapshot is None where there is none."""
    if model.state is ModelState.FAILED:
        return Progress(stage=Stage.FAILED, reason=model.failure)
    if not model.measured:
        return Progress(stage=Stage.PREPARING)
    if snapshot is None:
        return Progress(stage=Stage.WAITING)
    here = snapshot.row(model)
    if here is None:  # made ready after the snapshot was read
        return Progress(stage=Stage.EVALUATING)
    return _measured_progress(snapshot, model, here)


def _measured_progress(snapshot: Snapshot, model: Model, here: int) -> Progress:
    cells, rungs, solo = snapshot.cells, len(snapshot.comparison.rung_sizes), snapshot.solo(model)
    others = np.array(
        [row for other in snapshot.members if other.id != model.id and (row := snapshot.row(other)) is not None],
        dtype=np.int64,
    )
    networks = np.setdiff1d(others, here)
    directed = (cells.fooled[here] >= 0).astype(int) + (cells.fooled[:, here] >= 0)
    done = directed[networks] * cells.rungs[here, networks]
    refused, refused_at_0 = _count_refused(snapshot, int(cells.networks[here]), rungs)
    attacked = solo.attack.rungs if solo.attack else 0
    wanted = 2 * rungs * len(networks)
    measured = int(done.sum())
    # an attack costs 2 forward passes a gradient, a cell one
    attack_cost = 2 * snapshot.comparison.gradients
    fraction = (attack_cost * attacked + measured + refused) / (attack_cost * rungs + wanted)
    complete = attacked == rungs and measured + refused >= wanted
    prefix = attacked > 0 and int(directed[networks].sum()) + refused_at_0 >= 2 * len(networks)
    failure = snapshot.failures.get(int(cells.networks[here]))
    failed = failure is not None and not complete
    return Progress(
        stage=Stage.FAILED if failed else _stage(solo.evaluated_rungs, attacked, complete=complete),
        reason=_reason(snapshot, int(cells.networks[here]), failure if failed else None),
        pairs_measured=int((directed[others] > 1).sum()),
        pairs=len(others),
        cells_measured=measured,
        cells=wanted,
        complete=complete,
        prefix_complete=prefix,
        fraction=min(1.0, fraction),
    )


def _stage(evaluated: int, attacked: int, *, complete: bool) -> Stage:
    if complete:
        return Stage.MEASURED
    if not evaluated:
        return Stage.EVALUATING
    return Stage.TRANSFERRING if attacked else Stage.ATTACKING


def _reason(snapshot: Snapshot, network: int, failure: str | None) -> str | None:
    """What failed, and how many cells were refused, with the reason of the first."""
    reasons = [each.reason for each in snapshot.refusals if network in {each.source_id, each.target_id}]
    refused = f"{len(reasons)} of its cells could not be measured, the first because: {reasons[0]}" if reasons else None
    return " ".join(each for each in (failure, refused) if each) or None


def _count_refused(snapshot: Snapshot, network: int, rungs: int) -> tuple[int, int]:
    """The network's cells that its pairs will never show, on all rungs and on rung 0.

    Rung 1 waits for rung 0, and a pair shows only the rungs that both of its directions have.
    """
    by_pair: defaultdict[frozenset[int], list[int]] = defaultdict(list)
    for each in snapshot.refusals:
        if network in {each.source_id, each.target_id}:
            by_pair[frozenset({each.source_id, each.target_id})].append(each.rung)
    cells = sum(
        sum(rungs - rung for rung in refused) if 0 in refused else 2 * (rungs - 1) for refused in by_pair.values()
    )
    return cells, sum(refused.count(0) for refused in by_pair.values())


def count_progress(connection: Connection, zoo: Zoo, comparison: Comparison) -> ComparisonProgress:
    """As `read_comparison_progress`, by one query instead of a snapshot."""
    of_task = (each for each in zoo.models if each.task_id == comparison.task_id and each.measured and each.network)
    networks = sorted({model.network.id for model in of_task if model.network})
    directions = sum(case((each.is_not(None), 1), else_=0) for each in (PairRow.fooled_ab, PairRow.fooled_ba))
    m, rungs = len(networks), len(comparison.rung_sizes)
    cells, pairs = connection.execute(
        select(func.coalesce(func.sum(PairRow.rungs * directions), 0), func.count(PairRow.fooled_both)).where(
            PairRow.comparison_id == comparison.id, PairRow.a_id.in_(networks), PairRow.b_id.in_(networks)
        )
    ).one()
    return ComparisonProgress(
        networks=m, cells=rungs * m * (m - 1), cells_measured=cells, pairs=m * (m - 1) // 2, pairs_measured=pairs
    )


def read_comparison_progress(snapshot: Snapshot) -> ComparisonProgress:
    """How much of the comparison is recorded."""
    cells = snapshot.cells
    m, rungs = len(cells.networks), len(snapshot.comparison.rung_sizes)
    off_diagonal = ~np.eye(m, dtype=np.bool_)
    directed = (cells.fooled >= 0) & off_diagonal
    return ComparisonProgress(
        networks=m,
        cells=rungs * m * (m - 1),
        cells_measured=int((directed * cells.rungs).sum()),
        pairs=m * (m - 1) // 2,
        pairs_measured=int((directed & directed.T).sum()) // 2,
    )
