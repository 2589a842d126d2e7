"""Image sets: fixed content, three disjoint parts in one fixed order."""

import numpy as np
import pytest

from registry.declarations import ImageSetDeclaration
from registry.errors import ConflictError, InvalidError
from registry.image_sets import ImageSetReader, create_image_set, rungs_of
from registry.storage.artifacts import ArtifactStore
from registry.tables import Part
from sat_engine.io.tensors import write_arrays

CLASSES = ["no", "yes"]


@pytest.fixture
def import_set(tmp_path, sessions):
    store = ArtifactStore(str(tmp_path / "artifacts"), tmp_path / "cache")

    def create(images, labels, **declared):
        path = tmp_path / "content.safetensors"
        write_arrays(path, {"images": images, "labels": labels})
        content = store.put_file(path, "image-set", sessions)
        declaration = ImageSetDeclaration.model_validate({"name": "set", "classes": CLASSES} | declared)
        with sessions.begin() as session:
            row = create_image_set(session, declaration, content=content, content_path=path)
        return row, ImageSetReader(row, store.open_local(content.sha256))

    return create


def images_of(n, side=4, channels=1):
    return np.arange(n, dtype=np.uint8)[:, None, None, None] * np.ones((1, side, side, channels), np.uint8)


def test_the_parts_are_disjoint_and_cover_all(import_set):
    row, reader = import_set(images_of(40), np.arange(40) % 2, prefix=10)
    assert (row.n_attack, row.n_select, row.n_report, row.prefix, row.side, row.channels) == (28, 6, 6, 10, 4, 1)
    seen = [
        reader.read(part, rung)[0][:, 0, 0, 0]
        for part, rung in ((Part.ATTACK, 0), (Part.ATTACK, 1), (Part.SELECT, 0), (Part.REPORT, 0))
    ]
    assert [len(part) for part in seen] == [10, 18, 6, 6]
    assert sorted(np.concatenate(seen).tolist()) == list(range(40))


def test_labels_follow_their_images(import_set):
    _, reader = import_set(images_of(40), np.arange(40) % 2, prefix=10)
    for part, rung in ((Part.ATTACK, 0), (Part.ATTACK, 1), (Part.REPORT, 0)):
        images, labels = reader.read(part, rung)
        assert (images[:, 0, 0, 0] % 2 == labels).all()
    assert len(reader.labels(Part.ATTACK)) == 28


def test_a_prefix_that_is_everything_leaves_one_rung(import_set):
    row, _ = import_set(images_of(20), np.arange(20) % 2)
    assert (row.prefix, rungs_of(row)) == (14, (0,))


def test_the_same_content_again_is_the_same_image_set(import_set):
    first, _ = import_set(images_of(20), np.arange(20) % 2)
    again, _ = import_set(images_of(20), np.arange(20) % 2)
    assert again.id == first.id
    with pytest.raises(ConflictError, match="already holds other content"):
        import_set(images_of(21), np.arange(21) % 2)
    with pytest.raises(ConflictError, match="already image set 'set'"):
        import_set(images_of(20), np.arange(20) % 2, name="other")


@pytest.mark.parametrize(
    ("images", "labels", "declared", "complaint"),
    [
        (images_of(4), np.array([0, 1, 2, 0]), {}, "1 labels are outside 0 … 1"),
        (images_of(4), np.array([0, 1, -1, 0]), {}, "the first: image 2 has -1"),
        (images_of(4), np.array([0, 1]), {}, "one an image"),
        (images_of(4), np.array([0.0, 1, 0, 1]), {}, "must be integers"),
        (images_of(4)[:, :3], np.zeros(4, int), {}, "side, side"),
        (images_of(4, channels=2), np.zeros(4, int), {}, "1 or 3 channels"),
        (images_of(4).astype(np.float32), np.zeros(4, int), {}, "must be uint8"),
        (images_of(4)[:0], np.zeros(0, int), {}, "is empty"),
        (images_of(4), np.zeros(4, int), {"parts": {"attack": 3, "select": 1, "report": 1}}, "5 images of 4"),
    ],
)
def test_what_cannot_be_an_image_set_is_refused_with_the_reason(import_set, images, labels, declared, complaint):
    with pytest.raises(InvalidError, match=complaint):
        import_set(images, labels, **declared)
