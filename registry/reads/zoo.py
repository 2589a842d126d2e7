"""The zoo as reads see it: live models, their networks, tasks and comparisons, loaded in a few queries."""

import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, select, text

from registry.errors import InvalidError, NotFoundError
from registry.naming import unknown_model
from registry.tables import (
    ComparisonRow,
    ComparisonState,
    ImageSetRow,
    ModelRow,
    ModelState,
    NameRow,
    NetworkRow,
    Part,
    ProtocolRow,
    Source,
    TaskRow,
)
from registry.tasks import SHOWN_CLASSES
from sat_engine.attack_kinds import KINDS, Attack
from sat_engine.protocol import Protocol

_DIGEST = re.compile(r"@[0-9a-f]{8,64}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Task:
    """An ordered list of class names."""

    id: int
    name: str
    classes: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Network:
    """What computes; digests are hexadecimal."""

    id: int
    digest: str
    task_id: int
    architecture: str
    model_args: Mapping[str, Any]
    input_side: int
    channels: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    class_map: tuple[int, ...]
    components: Mapping[str, str | None]
    base: str | None
    family: str | None
    parameters: int
    macs: int
    weights: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Model:
    """A live entry; `network` is None until the model is prepared."""

    id: int
    name: str
    aliases: tuple[str, ...]
    task_id: int
    network: Network | None
    source: Source
    declaration: Mapping[str, Any]
    state: ModelState
    failure: str | None
    concern: str | None
    expected_accuracy: float | None
    tags: tuple[str, ...]
    created_at: datetime
    last_rung: int = 1
    owner: str = ""
    deleted_at: datetime | None = None

    @property
    def measured(self) -> bool:
        """Whether answers hold this model: it is prepared and did not fail. An archived one keeps its scores."""
        return self.network is not None and self.state in {ModelState.READY, ModelState.SUSPECT, ModelState.ARCHIVED}

    @property
    def rungs(self) -> int:
        """How many rungs it is measured on; 0 for an archived model, which gets no new results."""
        return 0 if self.state is ModelState.ARCHIVED else self.last_rung + 1

    @property
    def architecture(self) -> str:
        """The catalogue name that was declared."""
        return str(self.declaration["architecture"])


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """An (image set, protocol) with what reads need to know of both.

    noise_is_a_measure: whether the noise control stays in what the attack may change. It moves every pixel by ε, and an
    attack on a few patches any pixel of those by as much as there is.
    """

    id: int
    image_set_id: int
    image_set: str
    protocol_id: int
    protocol: str
    task_id: int
    n_attack: int
    n_select: int
    n_report: int
    prefix: int
    gradients: int
    noise_is_a_measure: bool
    state: ComparisonState
    is_default: bool
    version: int
    forgot_version: int

    @property
    def name(self) -> str:
        """As answers give it: `<image set>/<protocol>`."""
        return f"{self.image_set}/{self.protocol}"

    @property
    def parts(self) -> tuple[Part, ...]:
        """The parts that hold images."""
        sizes = ((Part.ATTACK, self.n_attack), (Part.SELECT, self.n_select), (Part.REPORT, self.n_report))
        return tuple(part for part, n in sizes if n)

    @property
    def rung_sizes(self) -> tuple[int, ...]:
        """The images of each rung of the attack part."""
        first = min(self.prefix, self.n_attack)
        return (first,) if first == self.n_attack else (first, self.n_attack - first)


@dataclass(frozen=True, kw_only=True, slots=True)
class Zoo:
    """Everything named. `models` are sorted by name; `by_name` holds names and aliases; written tells of changes."""

    models: tuple[Model, ...]
    by_name: Mapping[str, Model]
    networks: Mapping[int, Network]
    tasks: Mapping[int, Task]
    comparisons: tuple[Comparison, ...]
    written: str

    def find(self, reference: str) -> Model:
        """The live model of that name, alias or `@<network digest>`; NotFoundError names near matches."""
        if _DIGEST.fullmatch(reference):
            same = [each for each in self.models if each.network and each.network.digest.startswith(reference[1:])]
            if same:
                return min(same, key=lambda each: each.id)
        elif reference in self.by_name:
            return self.by_name[reference]
        raise unknown_model(reference, list(self.by_name))

    def find_for(self, comparison: Comparison, reference: str) -> Model:
        """As `find`; InvalidError compares the classes when the model is of another task than the comparison."""
        model = self.find(reference)
        if model.task_id != comparison.task_id:
            own, other = self.tasks[model.task_id], self.tasks[comparison.task_id]
            raise InvalidError(
                f"{model.name} is a model of task {own.name!r}, and {comparison.name} measures task {other.name!r}: "
                "choose a comparison of its own task with `image_set` (GET /comparisons lists them).",
                classes={"model": own.classes[:SHOWN_CLASSES], "task": other.classes[:SHOWN_CLASSES]},
            )
        return model

    def select_comparison(self, image_set: str | None, protocol: str | None) -> Comparison:
        """The comparison of both names, of one where it is enough, or the default one; NotFoundError lists them."""
        for comparison in self.comparisons:
            if image_set is None and protocol is None and not comparison.is_default:
                break
            if image_set in {None, comparison.image_set} and protocol in {None, comparison.protocol}:
                return comparison
        if not self.comparisons:
            raise NotFoundError(
                "nothing is compared yet: import an image set (`sat images import`), then POST /comparisons."
            )
        names = ", ".join(comparison.name for comparison in self.comparisons)
        raise NotFoundError(f"there is no such comparison. Comparisons: {names}.")

    def comparison_of_task(self, task_id: int) -> Comparison | None:
        """The default comparison if it is of this task, else the task's first, or None."""
        return next((each for each in self.comparisons if each.task_id == task_id), None)


def read_zoo(connection: Connection, previous: Zoo | None) -> Zoo:
    """Everything named, as it is in the connection's transaction. Networks and tasks are immutable: known ones stay."""
    written = _read_written(connection)
    if previous and previous.written == written:
        return replace(previous, comparisons=read_comparisons(connection))
    tasks = dict(previous.tasks) if previous else {}
    for task in connection.execute(
        select(TaskRow.id, TaskRow.name, TaskRow.classes).where(TaskRow.id.not_in(list(tasks)))
    ):
        tasks[task.id] = Task(id=task.id, name=task.name, classes=tuple(task.classes))
    networks = _read_networks(connection, previous.networks if previous else {})
    models = _read_models(connection, networks)
    by_name = {name: model for model in models for name in (model.name, *model.aliases)}
    return Zoo(
        models=models,
        by_name=by_name,
        networks={model.network.id: model.network for model in models if model.network},
        tasks=tasks,
        comparisons=read_comparisons(connection),
        written=written,
    )


def _read_written(connection: Connection) -> str:
    """Names all tasks, live models and names by the transactions that wrote their rows: xmin tells of any change."""
    query = text(
        "select md5(concat_ws(';',"
        " (select string_agg(concat(id, '/', xmin), ',' order by id) from tasks),"
        " (select string_agg(concat(id, '/', xmin), ',' order by id) from models where deleted_at is null),"
        " (select string_agg(concat(name, '/', xmin), ',' order by name) from names)))"
    )
    return str(connection.execute(query).scalar_one())


def read_comparisons(connection: Connection) -> tuple[Comparison, ...]:
    """All comparisons, the default one first."""
    query = (
        select(
            ComparisonRow.id,
            ComparisonRow.image_set_id,
            ImageSetRow.name.label("image_set"),
            ComparisonRow.protocol_id,
            ProtocolRow.name.label("protocol"),
            ImageSetRow.task_id,
            ImageSetRow.n_attack,
            ImageSetRow.n_select,
            ImageSetRow.n_report,
            ImageSetRow.prefix,
            ProtocolRow.parameters,
            ComparisonRow.state,
            ComparisonRow.is_default,
            ComparisonRow.version,
            ComparisonRow.forgot_version,
        )
        .join(ImageSetRow, ImageSetRow.id == ComparisonRow.image_set_id)
        .join(ProtocolRow, ProtocolRow.id == ComparisonRow.protocol_id)
        .order_by(ComparisonRow.is_default.desc(), ComparisonRow.id)
    )
    return tuple(_comparison(**row._mapping) for row in connection.execute(query))  # noqa: SLF001  public in SQLAlchemy


def _comparison(*, parameters: Mapping[str, object], **columns: Any) -> Comparison:
    protocol = Protocol.from_parameters(parameters)
    return Comparison(
        gradients=protocol.gradients, noise_is_a_measure=not KINDS[Attack(protocol.attack)].needs_patches, **columns
    )


def _read_networks(connection: Connection, known: Mapping[int, Network]) -> dict[int, Network]:
    """The networks of live models, by id."""
    named = connection.scalars(select(ModelRow.network_id).where(ModelRow.deleted_at.is_(None)).distinct())
    live = {network_id for network_id in named if network_id is not None}
    networks = {network_id: known[network_id] for network_id in live & known.keys()}
    for row in connection.execute(select(*NetworkRow.__table__.columns).where(NetworkRow.id.in_(live - known.keys()))):
        networks[row.id] = _network(row)
    return networks


def _network(row: Row[*tuple[Any, ...]]) -> Network:
    return Network(
        id=row.id,
        digest=row.digest.hex(),
        task_id=row.task_id,
        architecture=row.architecture,
        model_args=row.model_args,
        input_side=row.input_side,
        channels=row.channels,
        mean=tuple(row.mean),
        std=tuple(row.std),
        class_map=tuple(row.class_map),
        components=row.components,
        base=row.base,
        family=row.family,
        parameters=row.parameters,
        macs=row.macs,
        weights=row.weights.hex(),
    )


def _read_models(connection: Connection, networks: Mapping[int, Network]) -> tuple[Model, ...]:
    own: dict[int, str] = {}
    aliases: defaultdict[int, list[str]] = defaultdict(list)
    for name, model_id, is_alias in connection.execute(
        select(NameRow.name, NameRow.model_id, NameRow.is_alias).order_by(NameRow.name)
    ):
        if is_alias:
            aliases[model_id].append(name)
        else:
            own[model_id] = name
    rows = connection.execute(select(*_MODEL_COLUMNS).where(ModelRow.deleted_at.is_(None)))
    models = (_model(row, own[row.id], tuple(aliases[row.id]), networks) for row in rows)
    return tuple(sorted(models, key=lambda model: model.name))


def read_deleted(connection: Connection) -> tuple[Model, ...]:
    """The models that can be restored, under the names that they had."""
    rows = connection.execute(select(*_MODEL_COLUMNS).where(ModelRow.deleted_at.is_not(None))).all()
    named = {row.network_id for row in rows if row.network_id is not None}
    found = connection.execute(select(*NetworkRow.__table__.columns).where(NetworkRow.id.in_(named)))
    networks = {row.id: _network(row) for row in found}
    return tuple(_model(row, row.deleted_name, (), networks) for row in rows)


def _model(row: Row[*tuple[Any, ...]], name: str, aliases: tuple[str, ...], networks: Mapping[int, Network]) -> Model:
    return Model(
        id=row.id,
        name=name,
        aliases=aliases,
        task_id=row.task_id,
        network=None if row.network_id is None else networks[row.network_id],
        source=row.source,
        declaration=row.declaration,
        state=row.state,
        failure=row.failure,
        concern=row.concern,
        expected_accuracy=row.expected_accuracy,
        tags=tuple(row.tags),
        created_at=row.created_at,
        last_rung=row.last_rung,
        owner=row.owner,
        deleted_at=row.deleted_at,
    )


_MODEL_COLUMNS = (
    ModelRow.id,
    ModelRow.task_id,
    ModelRow.network_id,
    ModelRow.source,
    ModelRow.declaration,
    ModelRow.state,
    ModelRow.failure,
    ModelRow.concern,
    ModelRow.expected_accuracy,
    ModelRow.tags,
    ModelRow.created_at,
    ModelRow.last_rung,
    ModelRow.owner,
    ModelRow.deleted_at,
    ModelRow.deleted_name,
)
