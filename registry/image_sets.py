"""Image sets: labelled images of one task, their three parts and their fixed order."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import or_, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from registry.access import LOCAL, Actor, record_audit
from registry.declarations import ImageSetDeclaration, PartsDeclaration
from registry.errors import ConflictError, InvalidError
from registry.identity import image_set_digest
from registry.remapping import adopt_waiting_models
from registry.storage.artifacts import Artifact
from registry.tables import ImageSetRow, Part
from registry.tasks import get_or_create_task, settle_tasks
from sat_engine.errors import EngineError
from sat_engine.io.tensors import read_arrays
from sat_engine.ordering import order

ATTACK_SHARE, SELECT_SHARE = 0.70, 0.15
DEFAULT_PREFIX = 500
MAX_SIDE = 4096


def check_content(declaration: ImageSetDeclaration, path: Path) -> None:
    """Raise what `create_image_set` would raise of the declaration and the file: before it is stored."""
    images, labels = _read(path)
    _check_labels(labels, len(declaration.classes), len(images))
    _split(declaration.parts, len(images))


def create_image_set(
    session: Session,
    declaration: ImageSetDeclaration,
    *,
    content: Artifact,
    content_path: Path,
    actor: Actor = LOCAL,
) -> ImageSetRow:
    """The image set of that name and content, made if it is new; ConflictError when the name holds another.

    Models that wait for one, and name the same classes in another order, are brought to its task.
    """
    images, labels = _read(content_path)
    n, side, _, channels = images.shape
    _check_labels(labels, len(declaration.classes), n)
    parts = _split(declaration.parts, n)
    settle_tasks(session, alone=True)
    task = get_or_create_task(session, declaration.task or declaration.name, declaration.classes)
    prefix = min(declaration.prefix or DEFAULT_PREFIX, parts.attack)
    digest = image_set_digest(
        task=task.digest,
        content=content.sha256,
        parts=(parts.attack, parts.select, parts.report),
        prefix=prefix,
        seed=declaration.seed,
    )
    made = session.execute(
        insert(ImageSetRow)
        .values(
            name=declaration.name,
            task_id=task.id,
            digest=digest,
            content=content.sha256,
            n_attack=parts.attack,
            n_select=parts.select,
            n_report=parts.report,
            prefix=prefix,
            order_seed=declaration.seed,
            side=side,
            channels=channels,
            description=declaration.description,
        )
        .on_conflict_do_nothing()
        .returning(ImageSetRow.id)
    ).one_or_none()
    if made is not None:
        record_audit(session, actor, "image_set.create", declaration.name, {"digest": digest.hex()})
    row = session.scalars(
        select(ImageSetRow)
        .where(or_(ImageSetRow.name == declaration.name, ImageSetRow.digest == digest))
        .order_by(ImageSetRow.name != declaration.name)
    ).first()
    assert row is not None
    if row.name != declaration.name:
        raise ConflictError(f"the same images, parts and order are already image set {row.name!r}: use that name.")
    if row.digest != digest:
        raise ConflictError(f"image set {row.name!r} already holds other content: choose another name.")
    adopt_waiting_models(session, task)
    return row


class ImageSetReader:
    """The images and labels of one image set, memory-mapped, by part and rung in the fixed order."""

    def __init__(self, row: ImageSetRow, path: Path) -> None:
        self._row = row
        self._arrays = read_arrays(path)
        total = row.n_attack + row.n_select + row.n_report
        self._order = order(len(self._arrays["labels"]), row.order_seed)[:total]

    def positions(self, part: Part, rung: int) -> NDArray[np.int64]:
        """Indices into the stored content, in order, of one (part, rung)."""
        start, stop = part_bounds(self._row, part, rung)
        return self._order[start:stop]

    def read(self, part: Part, rung: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        """Images uint8 (n, side, side, channels) and labels int64 (n,) of one (part, rung)."""
        where = self.positions(part, rung)
        images: NDArray[np.uint8] = self._arrays["images"][where]
        labels: NDArray[np.int64] = self._arrays["labels"][where].astype(np.int64)
        return images, labels

    def labels(self, part: Part) -> NDArray[np.int64]:
        """Labels int64 (n,) of a whole part."""
        rungs = rungs_of(self._row) if part is Part.ATTACK else (0,)
        where = np.concatenate([self.positions(part, rung) for rung in rungs])
        labels: NDArray[np.int64] = self._arrays["labels"][where].astype(np.int64)
        return labels


def rungs_of(row: ImageSetRow) -> tuple[int, ...]:
    """The rungs of the attack part: (0,) when the prefix is all of it."""
    return (0,) if row.prefix >= row.n_attack else (0, 1)


def part_bounds(row: ImageSetRow, part: Part, rung: int) -> tuple[int, int]:
    """Start and end of a (part, rung) in the fixed order."""
    prefix = min(row.prefix, row.n_attack)
    if part is Part.ATTACK:
        return (0, prefix) if rung == 0 else (prefix, row.n_attack)
    if part is Part.SELECT:
        return row.n_attack, row.n_attack + row.n_select
    return row.n_attack + row.n_select, row.n_attack + row.n_select + row.n_report


def _read(path: Path) -> tuple[NDArray[np.uint8], NDArray[Any]]:
    try:
        arrays = read_arrays(path)
        images, labels = arrays["images"], arrays["labels"]
    except (EngineError, KeyError) as error:
        raise InvalidError(
            f"the content is no image set ({error}): send a .safetensors file with `images`, uint8 (n, side, side, "
            "channels), and `labels`, int64 (n,); `sat images import` makes one."
        ) from error
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1] != images.shape[2]:  # noqa: PLR2004  n, h, w, c
        raise InvalidError(f"`images` must be uint8 (n, side, side, channels), not {images.dtype} {images.shape}.")
    if not len(images):
        raise InvalidError("`images` is empty: send at least one image.")
    if images.shape[3] not in (1, 3) or not 1 <= images.shape[1] <= MAX_SIDE:
        raise InvalidError(f"`images` must have 1 or 3 channels and a side of 1 to {MAX_SIDE}, not {images.shape}.")
    return images, labels


def _check_labels(labels: NDArray[Any], classes: int, n: int) -> None:
    if labels.shape != (n,) or labels.dtype.kind not in "iu":
        raise InvalidError(f"`labels` must be integers ({n},), one an image, not {labels.dtype} {labels.shape}.")
    wrong = np.flatnonzero((labels < 0) | (labels >= classes))
    if len(wrong):
        first = int(wrong[0])
        raise InvalidError(
            f"{len(wrong)} labels are outside 0 … {classes - 1} (the first: image {first} has {int(labels[first])}): "
            "labels are positions in `classes`, counted from 0."
        )


def _split(parts: PartsDeclaration | None, n: int) -> PartsDeclaration:
    if parts is None:
        attack, select_ = max(1, round(n * ATTACK_SHARE)), round(n * SELECT_SHARE)
        return PartsDeclaration(attack=attack, select=select_, report=max(0, n - attack - select_))
    if parts.attack + parts.select + parts.report > n:
        raise InvalidError(f"the three parts ask for {parts.attack + parts.select + parts.report} images of {n}.")
    return parts
