"""Image sets, protocols and comparisons as the API shows them."""

from typing import Any, Self

from api.schemas.base import Answer, Page
from registry.reads.progress import read_comparison_progress
from registry.reads.snapshot import Snapshot
from registry.tables import ComparisonState, ImageSetRow, ProtocolRow, TaskRow


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
            side=row.side,
            channels=row.channels,
            description=row.description,
            links=ImageSetLinks(self=path, content=f"{path}/content"),
        )


class ImageSetPage(Page[ImageSet]):
    """One page of image sets."""


class Protocol(Answer):
    """A protocol; `parameters` is its canonical form, which the digest is of."""

    name: str
    digest: str
    parameters: dict[str, Any]
    description: str

    @classmethod
    def of(cls, row: ProtocolRow) -> Self:
        """The protocol as it is shown."""
        return cls(name=row.name, digest=row.digest.hex(), parameters=row.parameters, description=row.description)


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
    def of(cls, snapshot: Snapshot) -> Self:
        """The comparison as it is shown."""
        comparison = snapshot.comparison
        return cls(
            name=comparison.name,
            image_set=comparison.image_set,
            protocol=comparison.protocol,
            state=comparison.state,
            default=comparison.is_default,
            version=comparison.version,
            progress=ComparisonProgress.model_validate(read_comparison_progress(snapshot)),
        )


class ComparisonPage(Page[Comparison]):
    """One page of comparisons, the default one first."""
