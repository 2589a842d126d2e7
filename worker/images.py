"""Image sets as a worker reads them: content fetched and memory-mapped once a process."""

from sqlalchemy.orm import Session

from registry.image_sets import ImageSetReader
from registry.storage.artifacts import ArtifactStore
from registry.tables import ComparisonRow, ImageSetRow


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


def image_set_of(session: Session, comparison_id: int) -> ImageSetRow:
    """The image set of a comparison."""
    return session.get_one(ImageSetRow, session.get_one(ComparisonRow, comparison_id).image_set_id)
