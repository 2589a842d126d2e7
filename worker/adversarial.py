"""A source's adversarial images: read where they are, else made again from the protocol and checked by their hash."""

import logging
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from numpy.typing import NDArray
from sqlalchemy import exists, func, select, update
from sqlalchemy.orm import Session, aliased

from registry.errors import LostBytesError, StorageFullError, UnavailableError
from registry.image_sets import part_bounds
from registry.intervals import seconds
from registry.protocols import load_protocol
from registry.storage.artifacts import hash_file
from registry.storage.disk import full_disk_refused
from registry.storage.eviction import KIND
from registry.tables import AttackRow, NetworkRow, Part, WorkerRow
from sat_engine import measure
from sat_engine.io.tensors import read_arrays, write_arrays
from worker.context import Context
from worker.lease import Lease
from worker.loading import load_classifier
from worker.numeric_path import clean_bits, clean_evaluation
from worker.storing import require_room_for_images
from worker.subject import Subject

log = logging.getLogger(__name__)

Arrays = Mapping[str, NDArray[Any]]
# A worker that was not heard of for so long is not waited for.
ALIVE_SECONDS = 30.0


class OtherImagesError(Exception):
    """The images that were made again are not those that were recorded: other hardware or versions made them."""

    def __init__(self, attack: AttackRow) -> None:
        super().__init__(f"network {attack.network_id}, rung {attack.rung}")
        self.attack = attack


def adversarial_images(context: Context, lease: Lease, subject: Subject, attack: AttackRow) -> Arrays:
    """`images` and `positions` of an attack (docs/architecture.md), mapped from the store or made again.

    OtherImagesError when they come out otherwise than they were recorded, UnavailableError when a worker of the kind
    that made them is there and has to make them again, or the store does not answer.
    """
    if attack.images is not None:
        try:
            made = read_arrays(context.store.open_local(attack.images))
        except LostBytesError as error:
            log.warning("%s They are made again.", error)
            # what lies there under this name would pass for stored
            context.store.remove(attack.images)
        else:
            return made
    return _make_again(context, lease, subject, attack)


def _make_again(context: Context, lease: Lease, subject: Subject, attack: AttackRow) -> Arrays:
    with context.sessions() as session:
        source = session.get_one(NetworkRow, attack.network_id)
        clean = clean_evaluation(session, source.id, subject.image_set, attack.rung)
        _require_no_better_worker(session, context.worker_id, attack, source)
    images, labels = context.image_sets.reader(subject.image_set).read(Part.ATTACK, attack.rung)
    made = measure.attack(
        load_classifier(context, source, subject.image_set, like=attack.numeric_path),
        images,
        labels,
        clean_bits(clean),
        load_protocol(subject.protocol),
        positions_from=part_bounds(subject.image_set, Part.ATTACK, attack.rung)[0],
        progress=lease.heed,
    )
    arrays: Arrays = {"images": made.images, "positions": made.positions}
    _store_again(context, attack, arrays)
    return arrays


def _store_again(context: Context, attack: AttackRow, arrays: Arrays) -> None:
    """Keep the images where there is room; OtherImagesError unless they are what they were."""
    with tempfile.TemporaryDirectory(dir=context.store.spool) as folder:
        path = Path(folder) / KIND
        with full_disk_refused():
            write_arrays(path, arrays)
        artifact = hash_file(path)
        if artifact.sha256 != attack.images_sha256:
            raise OtherImagesError(attack)
        try:
            require_room_for_images(context, artifact.bytes)
            context.store.put_file(path, KIND, context.sessions)
        except StorageFullError as full:
            log.info("the images of network %s are used and not kept: %s", attack.network_id, full)
            return
    with context.sessions.begin() as session:
        session.execute(
            update(AttackRow)
            .where(
                AttackRow.comparison_id == attack.comparison_id,
                AttackRow.network_id == attack.network_id,
                AttackRow.rung == attack.rung,
                AttackRow.images_sha256 == artifact.sha256,
            )
            .values(images=artifact.sha256)
        )


def _require_no_better_worker(session: Session, worker_id: int, attack: AttackRow, source: NetworkRow) -> None:
    """UnavailableError where this worker may make other images, and one that makes the same is alive."""
    maker, me, other = aliased(WorkerRow), aliased(WorkerRow), aliased(WorkerRow)
    differs = (maker.device != me.device) | (maker.torch_version != me.torch_version)
    like_maker = exists().where(
        other.device == maker.device,
        other.torch_version == maker.torch_version,
        other.lanes.contains("compute"),
        other.left_at.is_(None),
        other.seen_at > func.now() - seconds(ALIVE_SECONDS),
    )
    device = session.scalars(
        select(maker.device).where(maker.id == attack.worker_id, me.id == worker_id, differs, like_maker)
    ).one_or_none()
    if device is not None:
        raise UnavailableError(
            f"the adversarial images of {source.architecture} ({source.digest.hex()[:8]}) were evicted, and only a "
            f"worker on {device} makes the same ones again: its turn comes."
        )
