"""transfers: every pending source set onto one target, which is loaded once; each cell is recorded by itself."""

import logging
import time
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import select
from sqlalchemy.orm import Session

from registry.database import transaction
from registry.deliveries import ask_for_news
from registry.errors import UnavailableError
from registry.jobs import finish_with, hold, more_urgent_waits
from registry.pending import Cell, pending_cells
from registry.remaking import replace_attack
from registry.results import TransferRecord, record_refusal, record_transfer
from registry.tables import AttackRow, ImageSetRow, NetworkRow, Part, TransferRow
from sat_engine import bits, measure
from sat_engine.classifier import Classifier
from sat_engine.errors import EngineError
from worker.adversarial import Arrays, OtherImagesError, adversarial_images
from worker.context import Context
from worker.lease import Lease
from worker.loading import load_classifier
from worker.numeric_path import clean_bits, clean_evaluation, require_same_bits
from worker.subject import Subject, read_subject

log = logging.getLogger(__name__)

Bools = NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Source:
    """What a cell needs of its source."""

    network: NetworkRow
    correct: Bools
    attack: AttackRow


@dataclass(slots=True)
class _Target:
    """The loaded target on one rung: its images, its clean bits, and its floors by source size."""

    network: NetworkRow
    image_set: ImageSetRow
    classifier: Classifier
    rung: int
    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    correct: Bools
    floors: dict[int, Bools] = field(default_factory=dict)

    def floor(self, source_side: int) -> Bools:
        """Where the target is wrong on its clean images brought to the source's size: once a size."""
        if source_side not in self.floors:
            self.floors[source_side] = measure.floor(
                self.classifier, self.images, self.labels, self.correct, source_side=source_side
            )
        return self.floors[source_side]


def run(context: Context, lease: Lease) -> None:
    """Measure the pending cells of the lowest rung; what comes meanwhile, or is of a later rung, takes another turn."""
    claimed = lease.claim
    with context.sessions.begin() as session:
        subject = read_subject(session, claimed)
        network, image_set = subject.network, subject.image_set
        cells = pending_cells(session, network.id, subject.comparison_id, image_set)
    now = [cell for cell in cells if cell.rung == cells[0].rung]
    if now:
        _measure(context, lease, subject, now)
    with transaction(context.sessions, context.bell.ring) as session:
        hold(session, claimed)
        left = pending_cells(session, network.id, subject.comparison_id, image_set)
        finish_with(session, claimed, left[0].rung if left else None)
        if not left:
            ask_for_news(session)


def _measure(context: Context, lease: Lease, subject: Subject, cells: list[Cell]) -> None:
    """Measure cells of one rung until they are done or more urgent work waits.

    A source whose images cannot be read now is left for later: UnavailableError is raised after the others.
    """
    unavailable: UnavailableError | None = None
    target = _load_target(context, subject.network, subject.image_set, cells[0].rung)
    for done, cell in enumerate(cells):
        lease.check_between_results(done / len(cells))
        try:
            record = _transfer(context, lease, subject, target, cell)
        except UnavailableError as error:
            unavailable = error
            continue
        except OtherImagesError as error:
            log.warning("%s comes out otherwise when it is attacked again: so are its cells", error)
            with transaction(context.sessions, context.bell.ring) as session:
                replace_attack(session, lease.claim, cell.source_id, cell.rung, error.attack.images_sha256)
            continue
        except EngineError as error:
            with transaction(context.sessions, context.bell.ring) as session:
                record_refusal(session, lease.claim, cell.source_id, cell.rung, str(error))
            continue
        with transaction(context.sessions, context.bell.ring) as session:
            if record is not None:
                record_transfer(session, lease.claim, record)
            if more_urgent_waits(session, lease.claim):
                return
    if unavailable is not None:
        raise unavailable


def _load_target(context: Context, network: NetworkRow, image_set: ImageSetRow, rung: int) -> _Target:
    images, labels = context.image_sets.reader(image_set).read(Part.ATTACK, rung)
    with context.sessions() as session:
        evaluation = clean_evaluation(session, network.id, image_set, rung)
    classifier = load_classifier(context, network, image_set)
    require_same_bits(classifier, evaluation, images, labels)
    return _Target(
        network=network,
        image_set=image_set,
        classifier=classifier,
        rung=rung,
        images=images,
        labels=labels,
        correct=clean_bits(evaluation),
    )


def _transfer(context: Context, lease: Lease, subject: Subject, target: _Target, cell: Cell) -> TransferRecord | None:
    """The cell; None where its source is being attacked anew."""
    with context.sessions() as session:
        source = _read_source(session, lease, target.image_set, cell)
    if source is None:
        return None
    made = adversarial_images(context, lease, subject, source.attack)
    started = time.perf_counter()
    common = source.correct & target.correct
    fooled = measure.transfer(target.classifier, made["images"], made["positions"], target.labels, common)
    floor_fooled = ceiling_fooled = None
    if source.network.input_side != target.network.input_side:
        floor_fooled = target.floor(source.network.input_side) & common
        ceiling_fooled = _ceiling(context, lease, target, source, made)
    return TransferRecord(
        source_id=cell.source_id,
        rung=cell.rung,
        common=int(common.sum()),
        fooled=fooled,
        floor_fooled=floor_fooled,
        ceiling_fooled=ceiling_fooled,
        numeric_path=target.classifier.numeric_path,
        images_sha256=source.attack.images_sha256,
        seconds=time.perf_counter() - started,
    )


def _ceiling(context: Context, lease: Lease, target: _Target, source: _Source, made: Arrays) -> Bools:
    """Where the source is fooled by its own images after the target's size: once a source, size and rung."""
    side = target.network.input_side
    with context.sessions() as session:
        known = session.scalars(
            select(TransferRow.ceiling_fooled)
            .join(NetworkRow, NetworkRow.id == TransferRow.target_id)
            .where(
                TransferRow.comparison_id == lease.claim.comparison_id,
                TransferRow.source_id == source.network.id,
                TransferRow.rung == target.rung,
                NetworkRow.input_side == side,
            )
            .limit(1)
        ).first()
    if known is not None:
        return bits.unpack(known, len(target.labels))
    classifier = load_classifier(context, source.network, target.image_set)
    return measure.ceiling(classifier, made["images"], made["positions"], target.labels, target_side=side)


def _read_source(session: Session, lease: Lease, image_set: ImageSetRow, cell: Cell) -> _Source | None:
    attack = session.get(AttackRow, (lease.claim.comparison_id, cell.source_id, cell.rung))
    if attack is None:
        return None
    return _Source(
        network=session.get_one(NetworkRow, cell.source_id),
        correct=clean_bits(clean_evaluation(session, cell.source_id, image_set, cell.rung)),
        attack=attack,
    )
