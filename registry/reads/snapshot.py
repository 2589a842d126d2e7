"""One comparison as it was at one version, in memory: what hot reads answer from without a query."""

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, select

from registry.reads.cells import Cells, read_cells
from registry.reads.noise import NoiseTest
from registry.reads.solo import UNMEASURED, Solo, SoloMeasures, read_solo
from registry.reads.zoo import Comparison, Model, Zoo, read_comparisons, read_zoo
from registry.tables import JobKind, JobRow, JobState, RefusalRow

T = TypeVar("T")
_SERIALS = itertools.count(1)
_ENDED = {
    JobKind.EVALUATE: "it cannot be evaluated",
    JobKind.ATTACK: "its attack failed",
    JobKind.TRANSFERS: "the attacks of others on it failed",
}
NOTHING = SoloMeasures({}, {}, {})


@dataclass(frozen=True, slots=True)
class Refusal:
    """A directed cell that could not be measured, and why."""

    source_id: int
    target_id: int
    rung: int
    reason: str


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """A comparison at one version. Immutable: a refresh makes another, readers keep theirs.

    serial: differs between any two snapshots of this process, so it can key what was computed from one.
    members: the models that answers hold, by name; two of them may share a network.
    unattackable: the networks that the protocol's attack cannot be made against, and why: their cells as a source
    never come, and refusals do not list them.
    failures: what ended a network's evaluation, attack or transfers here, until they are tried again.
    """

    serial: int
    zoo: Zoo
    comparison: Comparison
    members: tuple[Model, ...]
    measures: SoloMeasures
    cells: Cells
    refusals: tuple[Refusal, ...]
    unattackable: Mapping[int, str]
    failures: Mapping[int, str]
    _derived: dict[str, Any] = field(init=False, default_factory=dict, compare=False, repr=False)

    def once(self, what: str, make: Callable[[], T]) -> T:
        """What `make` makes of this snapshot, made once. Two threads that ask at a time may each make it."""
        if what not in self._derived:
            self._derived[what] = make()
        made: T = self._derived[what]
        return made

    @cached_property
    def position(self) -> Mapping[int, int]:
        """Where each network is in `cells`."""
        return {network: index for index, network in enumerate(self.cells.networks.tolist())}

    @cached_property
    def wanted_rungs(self) -> NDArray[np.int8]:
        """How many rungs (m,) each network of `cells` is measured on; a pair gets as many as the lesser of its two."""
        wanted = np.zeros(len(self.cells.networks), dtype=np.int8)
        for model in self.members:
            row = self.row(model)
            if row is not None:
                wanted[row] = max(wanted[row], min(model.rungs, len(self.comparison.rung_sizes)))
        return wanted

    @cached_property
    def rows(self) -> NDArray[np.int64]:
        """Where each member's network is in `cells`, (members,)."""
        return np.array([self.position[each.network.id] for each in self.members if each.network], dtype=np.int64)

    @cached_property
    def ids(self) -> NDArray[np.int64]:
        """The ids of the members, (members,)."""
        return np.array([each.id for each in self.members], dtype=np.int64)

    @cached_property
    def refused(self) -> Mapping[frozenset[int], str]:
        """Why a pair of networks has a cell that cannot be measured, though its source was attacked."""
        return {frozenset({each.source_id, each.target_id}): each.reason for each in self.refusals}

    @cached_property
    def is_unattackable(self) -> NDArray[np.bool_]:
        """Which networks (m,) of `cells` are unattackable."""
        return np.isin(self.cells.networks, list(self.unattackable))

    def find_refusal(self, one: int, other: int) -> str | None:
        """Why a pair of networks cannot be measured; None where it can, in one direction at least."""
        if one in self.unattackable and other in self.unattackable:
            return self.unattackable[one]
        return self.refused.get(frozenset({one, other}))

    def find(self, reference: str) -> Model:
        """The model of that name in this comparison; NotFoundError, or InvalidError when it is of another task."""
        return self.zoo.find_for(self.comparison, reference)

    def row(self, model: Model) -> int | None:
        """The model's row in `cells`; None while it is not among the members."""
        return self.position.get(model.network.id) if model.network and model.measured else None

    def solo(self, model: Model) -> Solo:
        """What is measured of the model by itself."""
        return self.measures.solo.get(model.network.id, UNMEASURED) if model.network else UNMEASURED


@dataclass(frozen=True, slots=True)
class View:
    """Everything reads answer from, at one moment: the zoo and a snapshot of each comparison that was asked for."""

    zoo: Zoo
    snapshots: Mapping[int, Snapshot]


def read_view(connection: Connection, wanted: frozenset[int], previous: View | None) -> View:
    """The view as it is in the connection's transaction, which must be REPEATABLE READ or stricter.

    Only what changed since `previous` is read. wanted: comparisons to hold besides the default one; others are dropped.
    """
    comparisons = read_comparisons(connection)
    if previous and _went_back(previous.zoo, comparisons):
        previous = None  # the database was restored from a backup: ids may mean other things now
    held = {each.id for each in comparisons if each.is_default or each.id in wanted}
    failures = _read_failures(connection, held)
    if (
        previous
        and comparisons  # without one there is no version that would tell of a change
        and comparisons == previous.zoo.comparisons
        and failures == {each: snapshot.failures for each, snapshot in previous.snapshots.items()}
    ):
        return previous
    zoo = read_zoo(connection, previous.zoo if previous else None)
    return View(
        zoo,
        {
            comparison.id: _read_snapshot(connection, zoo, comparison, failures[comparison.id], previous)
            for comparison in zoo.comparisons
            if comparison.id in held
        },
    )


def _went_back(known: Zoo, comparisons: tuple[Comparison, ...]) -> bool:
    versions = {each.id: each.version for each in comparisons}
    return any(versions.get(each.id, -1) < each.version for each in known.comparisons)


def _read_snapshot(
    connection: Connection, zoo: Zoo, comparison: Comparison, failures: Mapping[int, str], view: View | None
) -> Snapshot:
    previous = view.snapshots.get(comparison.id) if view else None
    if previous and previous.comparison == comparison:
        same = previous.failures == failures
        return previous if same else replace(previous, serial=next(_SERIALS), failures=failures)
    if previous and previous.comparison.version < comparison.forgot_version:
        previous = None  # results were deleted: what is kept may hold them
    members = tuple(model for model in zoo.models if model.measured and model.task_id == comparison.task_id)
    networks = sorted({model.network.id for model in members if model.network})
    measures = read_solo(connection, comparison, networks, previous.measures if previous else NOTHING)
    attacks = {network: solo.attack for network, solo in measures.solo.items() if solo.attack}
    cells = read_cells(
        connection,
        networks,
        NoiseTest(connection, comparison, attacks, measures.attack_bits),
        previous=previous.cells if previous else None,
        known_version=previous.comparison.version if previous else -1,
    )
    refusals = _read_refusals(connection, comparison, frozenset(networks))
    return Snapshot(
        serial=next(_SERIALS),
        zoo=zoo,
        comparison=comparison,
        members=members,
        measures=measures,
        cells=cells,
        refusals=tuple(each for each in refusals if each.source_id != each.target_id),
        unattackable={each.source_id: each.reason for each in refusals if each.source_id == each.target_id},
        failures=failures,
    )


def _read_failures(connection: Connection, comparison_ids: set[int]) -> dict[int, dict[int, str]]:
    """For each of the comparisons, why a network's measuring ended there. No version tells of a failed job."""
    failures: dict[int, dict[int, str]] = {each: {} for each in comparison_ids}
    query = (
        select(JobRow.comparison_id, JobRow.network_id, JobRow.kind, JobRow.failure)
        .where(JobRow.state == JobState.FAILED, JobRow.kind.in_(_ENDED))
        .order_by(JobRow.kind.desc())  # without an attack there is nothing to transfer: it comes last, and stays
    )
    for comparison_id, network_id, kind, failure in connection.execute(query):
        if comparison_id in failures and network_id is not None:
            failures[comparison_id][network_id] = f"{_ENDED[kind]}: {failure}"
    return failures


def _read_refusals(connection: Connection, comparison: Comparison, networks: frozenset[int]) -> tuple[Refusal, ...]:
    query = select(RefusalRow.source_id, RefusalRow.target_id, RefusalRow.rung, RefusalRow.reason)
    rows = connection.execute(query.where(RefusalRow.comparison_id == comparison.id))
    return tuple(Refusal(*row) for row in rows if {row.source_id, row.target_id} <= networks)
