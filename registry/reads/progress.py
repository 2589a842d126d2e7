"""How far the measuring of a model, and of a comparison, has come."""

from collections import defaultdict
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, case, func, select

from registry.reads.snapshot import Snapshot
from registry.reads.zoo import Comparison, Model, Zoo
from registry.tables import ModelState, PairRow, RefusalRow


class Stage(StrEnum):
    """What a model is waiting for."""

    WAITING = "waiting for an image set"
    PREPARING = "preparing"
    EVALUATING = "evaluating"
    ATTACKING = "attacking"
    TRANSFERRING = "transferring"
    MEASURED = "measured"
    ARCHIVED = "archived"
    FAILED = "failed"


@dataclass(frozen=True, kw_only=True, slots=True)
class Progress:
    """One model's. pairs: with the other measured models; cells: directed ones, on every rung both are measured on.

    An archived model waits for nothing, and nobody waits for it.

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
    here, others, wanted = snapshot.row(model), snapshot.ids != model.id, snapshot.wanted_rungs
    if here is None:
        return int(others.sum())
    missing = others & (snapshot.cells.n[here, snapshot.rows] < 0)
    missing &= np.minimum(wanted[here], wanted[snapshot.rows]) > 0
    own, rest = int(snapshot.cells.networks[here]), snapshot.cells.networks[snapshot.rows[missing]].tolist()
    return sum(snapshot.find_refusal(own, network) is None for network in rest)


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
    cells, solo = snapshot.cells, snapshot.solo(model)
    rungs = int(snapshot.wanted_rungs[here])
    others = np.array(
        [row for other in snapshot.members if other.id != model.id and (row := snapshot.row(other)) is not None],
        dtype=np.int64,
    )
    pair_rungs = np.minimum(snapshot.wanted_rungs, rungs).astype(int)
    directed = (cells.fooled[here] >= 0).astype(int) + (cells.fooled[:, here] >= 0)
    # a pair that gets no more results counts where it is measured
    others = others[(pair_rungs[others] > 0) | (directed[others] > 1)]
    networks = np.setdiff1d(others, here)
    done = directed[networks] * np.minimum(cells.rungs[here, networks], pair_rungs[networks])
    waiting = networks[pair_rungs[networks] > 0]
    refused, refused_at_0 = _count_refused(snapshot, int(cells.networks[here]), pair_rungs)
    # cells of sources that cannot be attacked: onto this network, and from it
    unattackable = snapshot.is_unattackable[waiting].astype(int) + snapshot.is_unattackable[here]
    refused += int((unattackable * pair_rungs[waiting]).sum())
    refused_at_0 += int(unattackable.sum())
    attacked = rungs if snapshot.is_unattackable[here] else min(solo.attack.rungs, rungs) if solo.attack else 0
    wanted = 2 * int(pair_rungs[networks].sum())
    measured = int(done.sum())
    # an attack costs 2 forward passes a gradient, a cell one
    attack_cost = 2 * snapshot.comparison.gradients
    work = attack_cost * rungs + wanted
    fraction = (attack_cost * attacked + measured + refused) / work if work else 1.0
    complete = attacked == rungs and measured + refused >= wanted
    prefix = complete or (attacked > 0 and int(directed[waiting].sum()) + refused_at_0 >= 2 * len(waiting))
    failure = snapshot.failures.get(int(cells.networks[here]))
    failed = failure is not None and not complete
    return Progress(
        stage=_stage(model, solo.evaluated_rungs, attacked, failed=failed, complete=complete),
        reason=_reason(snapshot, int(cells.networks[here]), failure if failed else None),
        pairs_measured=int((directed[others] > 1).sum()),
        pairs=len(others),
        cells_measured=measured,
        cells=wanted,
        complete=complete,
        prefix_complete=prefix,
        fraction=min(1.0, fraction),
    )


def _stage(model: Model, evaluated: int, attacked: int, *, failed: bool, complete: bool) -> Stage:
    if failed:
        return Stage.FAILED
    if model.state is ModelState.ARCHIVED:
        return Stage.ARCHIVED
    if complete:
        return Stage.MEASURED
    if not evaluated:
        return Stage.EVALUATING
    return Stage.TRANSFERRING if attacked else Stage.ATTACKING


def _reason(snapshot: Snapshot, network: int, failure: str | None) -> str | None:
    """What failed, why it cannot be attacked, and how many cells were refused, with the reason of the first."""
    reasons = [each.reason for each in snapshot.refusals if network in {each.source_id, each.target_id}]
    refused = f"{len(reasons)} of its cells could not be measured, the first because: {reasons[0]}" if reasons else None
    never = snapshot.unattackable.get(network)
    unattackable = f"it cannot be attacked, so its pairs have one direction at most: {never}" if never else None
    return " ".join(each for each in (failure, unattackable, refused) if each) or None


def _count_refused(snapshot: Snapshot, network: int, pair_rungs: NDArray[np.int64]) -> tuple[int, int]:
    """The network's cells that its pairs will never show, on all rungs and on rung 0.

    Rung 1 waits for rung 0, and a pair shows only the rungs that both of its directions have. pair_rungs: how many
    each of its pairs gets.
    """
    by_other: defaultdict[int, list[int]] = defaultdict(list)
    for each in snapshot.refusals:
        if network in {each.source_id, each.target_id}:
            other = each.target_id if each.source_id == network else each.source_id
            rungs = int(pair_rungs[snapshot.position[other]])
            by_other[other] += [rungs - each.rung] if each.rung < rungs else []
    at_0 = 0
    cells = 0
    for other, left in by_other.items():
        rungs = int(pair_rungs[snapshot.position[other]])
        at_0 += left.count(rungs)
        cells += sum(left) if rungs in left else 2 * (rungs - 1) if left else 0
    return cells, at_0


def count_progress(connection: Connection, zoo: Zoo, comparison: Comparison) -> ComparisonProgress:
    """As `read_comparison_progress`, by two queries instead of a snapshot."""
    of_task = [each for each in zoo.models if each.task_id == comparison.task_id and each.measured and each.rungs]
    networks = sorted({model.network.id for model in of_task if model.network})
    deep = {model.network.id for model in of_task if model.network and model.rungs > 1}
    directions = sum(case((each.is_not(None), 1), else_=0) for each in (PairRow.fooled_ab, PairRow.fooled_ba))
    m, rungs = len(networks), len(comparison.rung_sizes)
    cells, pairs = connection.execute(
        select(func.coalesce(func.sum(PairRow.rungs * directions), 0), func.count(PairRow.fooled_both)).where(
            PairRow.comparison_id == comparison.id, PairRow.a_id.in_(networks), PairRow.b_id.in_(networks)
        )
    ).one()
    unattackable = connection.scalars(
        select(RefusalRow.source_id).where(
            RefusalRow.comparison_id == comparison.id, RefusalRow.source_id == RefusalRow.target_id
        )
    )
    sources = set(networks).difference(unattackable)
    wanted = len(sources) * (m - 1) + (rungs - 1) * len(sources & deep) * (len(deep) - 1)
    return ComparisonProgress(
        networks=m,
        cells=wanted,
        cells_measured=min(cells, wanted),
        pairs=len(sources) * (len(sources) - 1) // 2,
        pairs_measured=pairs,
    )


def read_comparison_progress(snapshot: Snapshot) -> ComparisonProgress:
    """How much of the comparison is recorded; what a source that cannot be attacked would give is not wanted."""
    cells = snapshot.cells
    rungs = pair_rungs(snapshot)
    rungs[snapshot.is_unattackable] = 0
    directed = (cells.fooled >= 0) & (rungs > 0)
    return ComparisonProgress(
        networks=int((snapshot.wanted_rungs > 0).sum()),
        cells=int(rungs.sum()),
        cells_measured=int((directed * np.minimum(cells.rungs, rungs)).sum()),
        pairs=int(((rungs > 0) & (rungs.T > 0)).sum()) // 2,
        pairs_measured=int((directed & directed.T).sum()) // 2,
    )


def pair_rungs(snapshot: Snapshot) -> NDArray[np.int64]:
    """How many rungs (m, m) each directed cell gets: the lesser of its two networks'; none on the diagonal."""
    wanted = snapshot.wanted_rungs.astype(np.int64)
    rungs: NDArray[np.int64] = np.minimum.outer(wanted, wanted)
    np.fill_diagonal(rungs, 0)
    return rungs
