"""Models one by one: how far they are, what they are, and what to mind about them."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from registry.access import Actor, require_owner
from registry.naming import own_name
from registry.reads.progress import Progress, read_progress
from registry.reads.snapshot import Snapshot
from registry.reads.solo import UNMEASURED, Share, Solo
from registry.reads.zoo import Model, Network, Task, Zoo
from registry.tables import ModelRow

LOW_SELF_FOOLING = 0.95
HIGH_NOISE = 0.10


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelSummary:
    """A model with what is measured of it in one comparison of its task."""

    model: Model
    solo: Solo
    progress: Progress

    @property
    def network(self) -> Network | None:
        """The model's network, once it is prepared."""
        return self.model.network


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelDetail:
    """A summary with what only its own page shows."""

    summary: ModelSummary
    task: Task
    description: str
    license: str | None
    supersedes: str | None
    revision: int
    numeric_path: str | None
    self_fooling: Share | None
    noise: Share | None
    flags: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelFilter:
    """Which models are listed; None lets everything pass.

    q: words, as `search` takes them.
    """

    state: str | None = None
    tag: str | None = None
    family: str | None = None
    base: str | None = None
    architecture: str | None = None
    owner: str | None = None
    min_accuracy: float | None = None
    max_accuracy: float | None = None
    q: str | None = None


@dataclass(frozen=True, slots=True)
class Listed:
    """A model in a list, before its page is known; snapshot is of a comparison of its task."""

    model: Model
    snapshot: Snapshot | None
    relevance: float = 0.0

    @property
    def accuracy(self) -> float | None:
        """Clean top-1, None where it is not evaluated."""
        accuracy = self.snapshot.solo(self.model).accuracy if self.snapshot else None
        return accuracy.rate if accuracy else None


# what a list of models can be sorted by; None sorts last
SORT_KEYS: Mapping[str, Callable[[Listed], Any]] = {
    "name": lambda each: each.model.name,
    "created_at": lambda each: each.model.created_at.isoformat(),
    "accuracy": lambda each: each.accuracy,
    "parameters": lambda each: each.model.network.parameters if each.model.network else None,
    "gmacs": lambda each: each.model.network.macs if each.model.network else None,
    "relevance": lambda each: -each.relevance,
}


def summarise(model: Model, snapshot: Snapshot | None) -> ModelSummary:
    """The model with its progress; snapshot is of a comparison of its task, None where there is none."""
    solo = snapshot.solo(model) if snapshot else UNMEASURED
    return ModelSummary(model=model, solo=solo, progress=read_progress(snapshot, model))


def find_models(
    models: Iterable[Model],
    wanted: ModelFilter,
    snapshot_of: Callable[[int], Snapshot | None],
    *,
    relevance: Mapping[int, float] | None,
) -> list[Listed]:
    """The models that pass the filter, by name.

    snapshot_of: gives the comparison to show for a task. relevance: what `search` found for q; None without one.
    """
    found = [model for model in models if _passes(model, wanted) and (relevance is None or model.id in relevance)]
    snapshots = {task_id: snapshot_of(task_id) for task_id in {model.task_id for model in found}}
    ranks = relevance or {}
    listed = (Listed(model, snapshots[model.task_id], ranks.get(model.id, 0.0)) for model in found)
    return [each for each in listed if _is_between(each.accuracy, wanted.min_accuracy, wanted.max_accuracy)]


def describe(session: Session, zoo: Zoo, model: Model, snapshot: Snapshot | None) -> ModelDetail:
    """Everything about one model; snapshot as in `summarise`."""
    summary = summarise(model, snapshot)
    row = session.get_one(ModelRow, model.id)
    attack = summary.solo.attack
    self_fooling = Share(attack.n_fooled, attack.attacked) if attack else None
    noise = Share(attack.n_noise_fooled, attack.attacked) if attack else None
    return ModelDetail(
        summary=summary,
        task=zoo.tasks[model.task_id],
        description=row.description,
        license=row.license,
        supersedes=own_name(session, row.supersedes) if row.supersedes else None,
        revision=row.revision,
        numeric_path=summary.solo.numeric_path,
        self_fooling=self_fooling,
        noise=noise,
        flags=tuple(_flags(self_fooling, noise if snapshot and snapshot.comparison.noise_is_a_measure else None)),
    )


def read_card(session: Session, model_id: int) -> tuple[str, int]:
    """The model's card, Markdown, and the revision that it is of."""
    card, revision = session.execute(select(ModelRow.card, ModelRow.revision).where(ModelRow.id == model_id)).one()
    return card, revision


def checkpoint_of(session: Session, model: Model, *, actor: Actor) -> bytes | None:
    """The sha256 of the weights as safetensors: the prepared ones, else the file as it was uploaded, else None.

    Scores are for all to see, weights are the owner's: ForbiddenError for anybody else.
    """
    require_owner(actor, model.owner, f"model {model.name!r}")
    if model.network is not None:
        return bytes.fromhex(model.network.weights)
    return session.scalars(select(ModelRow.checkpoint).where(ModelRow.id == model.id)).one()


def _flags(self_fooling: Share | None, noise: Share | None) -> list[str]:
    flags = []
    # of no attacked image, nothing is known
    if self_fooling and self_fooling.n and self_fooling.rate < LOW_SELF_FOOLING:
        flags.append("self-fooling below 95 %: its scores understate similarity")
    if noise and noise.rate > HIGH_NOISE:
        flags.append("noise rate above 10 %: part of what fools it is not the attack")
    return flags


def _passes(model: Model, wanted: ModelFilter) -> bool:
    network = model.network
    return (
        wanted.state in {None, model.state}
        and (wanted.tag is None or wanted.tag in model.tags)
        and wanted.family in {None, network.family if network else None}
        and wanted.base in {None, network.base if network else None}
        and wanted.architecture in {None, model.architecture}
        and wanted.owner in {None, model.owner}
    )


def _is_between(accuracy: float | None, least: float | None, most: float | None) -> bool:
    """What is not evaluated passes only where nothing is asked for."""
    if accuracy is None:
        return least is None and most is None
    return (least is None or accuracy >= least) and (most is None or accuracy <= most)
