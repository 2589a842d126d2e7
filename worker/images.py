"""Image sets as a worker reads them: content fetched and memory-mapped once a process."""

from sqlalchemy.orm import Session

from registry.artifacts import ArtifactStore
from registry.image_sets import ImageSetReader
from registry.tables import ComparisonRow, ImageSetRow, ProtocolRow


class ImageSets:
    """Readers by image set, kept for the life of the process: an image set never changes."""

    def __init__(self, store: ArtifactStore) -> None:
        self._store = store
        self._readers: dict[int, ImageSetReader] = {}

    def reader(self, row: ImageSetRow) -> ImageSetReader:
        """The reader of one image set."""
        if row.id not in self._readers:
            self._readers[row.id] = ImageSetReader(row, self._store.open_local(row.content))
        return self._readers[row.id]


def comparison_parts(session: Session, comparison_id: int) -> tuple[ComparisonRow, ImageSetRow, ProtocolRow]:
    """A comparison with its image set and its protocol."""
    comparison = session.get_one(ComparisonRow, comparison_id)
    return (
        comparison,
        session.get_one(ImageSetRow, comparison.image_set_id),
        session.get_one(ProtocolRow, comparison.protocol_id),
    )
