"""Image sets, protocols and comparisons as the API shows them."""

from typing import Any, Self

from pydantic import Field

from api.schemas.base import Answer, Page
from registry.protocols import load_protocol
from registry.reads.progress import ComparisonProgress as ProgressRead
from registry.reads.zoo import Comparison as ComparisonRead
from registry.tables import ComparisonState, ImageSetRow, ProtocolRow, TaskRow
from sat_engine.attack_kinds import KINDS, AttackKind, Randomness, Start
from sat_engine.attack_kinds import Attack as AttackName


class ImageSetTask(Answer):
    """What the labels of an image set mean."""

    name: str
    classes: list[str]


class Parts(Answer):
    """How many images each part holds."""

    attack: int
    select: int
    report: int


class ImageSetLinks(Answer):
    """Where to go on."""

    self: str
    content: str


class ImageSet(Answer):
    """An image set."""

    name: str
    digest: str
    task: ImageSetTask
    parts: Parts
    prefix: int
    seed: int = Field(description="Of the fixed order: images are sorted by sha256 of `<seed>:<index>`.")
    side: int
    channels: int
    description: str
    links: ImageSetLinks

    @classmethod
    def of(cls, row: ImageSetRow, task: TaskRow) -> Self:
        """The image set as it is shown."""
        path = f"/image-sets/{row.name}"
        return cls(
            name=row.name,
            digest=row.digest.hex(),
            task=ImageSetTask(name=task.name, classes=task.classes),
            parts=Parts(attack=row.n_attack, select=row.n_select, report=row.n_report),
            prefix=row.prefix,
            seed=row.order_seed,
            side=row.side,
            channels=row.channels,
            description=row.description,
            links=ImageSetLinks(self=path, content=f"{path}/content"),
        )


class ImageSetPage(Page[ImageSet]):
    """One page of image sets."""


class Capabilities(Answer):
    """What sets an attack apart from others."""

    randomness: Randomness = Field(description="none, or seeded image by image: independent of batch and order.")
    on_grid: bool = Field(description="With whole levels of 255 for epsilon and step, nothing is rounded.")
    needs_patches: bool = Field(description="Attacks only networks that cut images into patches and attend to them.")
    needs_generator: bool = Field(description="Its images come from a trained generator.")


class AttackOption(Answer):
    """A number that one attack takes beside epsilon, step_size, steps, start and seed."""

    name: str
    meaning: str
    default: str
    low: str
    high: str
    whole: bool


class Attack(Answer):
    """An attack of the catalogue; `reason` says why one is not available."""

    name: str
    title: str
    source: str
    available: bool
    reason: str | None
    capabilities: Capabilities
    starts: list[Start]
    steps: int = Field(description="As published.")
    options: list[AttackOption]

    @classmethod
    def of(cls, name: str, kind: AttackKind) -> Self:
        """The attack as it is shown."""
        return cls(
            name=name,
            title=kind.title,
            source=kind.source,
            available=kind.unavailable is None,
            reason=kind.unavailable,
            capabilities=Capabilities.model_validate(kind),
            starts=list(kind.starts),
            steps=kind.steps,
            options=[
                AttackOption(
                    name=option,
                    meaning=each.meaning,
                    default=str(each.default),
                    low=str(each.low),
                    high=str(each.high),
                    whole=each.whole,
                )
                for option, each in kind.options.items()
            ],
        )


class Attacks(Answer):
    """All attacks."""

    items: list[Attack]


class Protocol(Answer):
    """A protocol; `parameters` is its canonical form, which the digest is of."""

    name: str
    digest: str
    parameters: dict[str, Any]
    capabilities: Capabilities
    gradients: int = Field(description="What an image costs: gradients, each a forward and a backward pass.")
    description: str

    @classmethod
    def of(cls, row: ProtocolRow) -> Self:
        """The protocol as it is shown."""
        return cls(
            name=row.name,
            digest=row.digest.hex(),
            parameters=row.parameters,
            capabilities=Capabilities.model_validate(KINDS[AttackName(row.attack)]),
            gradients=load_protocol(row).gradients,
            description=row.description,
        )


class ProtocolPage(Page[Protocol]):
    """One page of protocols."""


class ComparisonProgress(Answer):
    """How much is recorded, counted in networks: two models may share one."""

    networks: int
    cells: int
    cells_measured: int
    pairs: int
    pairs_measured: int


class Comparison(Answer):
    """An image set and a protocol on which models are measured."""

    name: str
    image_set: str
    protocol: str
    state: ComparisonState
    default: bool
    version: int
    progress: ComparisonProgress

    @classmethod
    def of(cls, comparison: ComparisonRead, progress: ProgressRead) -> Self:
        """The comparison as it is shown."""
        return cls(
            name=comparison.name,
            image_set=comparison.image_set,
            protocol=comparison.protocol,
            state=comparison.state,
            default=comparison.is_default,
            version=comparison.version,
            progress=ComparisonProgress.model_validate(progress),
        )


class ComparisonPage(Page[Comparison]):
    """One page of comparisons, the default one first."""
