"""transfers: every pending source set onto one target, which is loaded once."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from registry.database import transaction
from registry.deliveries import news_is_wanted
from registry.errors import UnavailableError
from registry.jobs import finish_with, note_cell
from registry.pending import Cell, pending_cells
from registry.remaking import replace_attack
from registry.results import TransferRecord, record_refusal
from registry.tables import ImageSetRow, JobKind, NetworkRow, Part
from registry.wanting import priority_of, want
from sat_engine import measure
from sat_engine.classifier import Classifier
from sat_engine.errors import EngineError
from worker.adversarial import Arrays, OtherImagesError, adversarial_images
from worker.context import Context
from worker.gate import require_parity
from worker.lease import Lease
from worker.loading import load_classifier
from worker.numeric_path import clean_bits, clean_evaluation, require_same_bits
from worker.recorder import Recorder, recording
from worker.sources import Bools, Source, sources_of
from worker.subject import Subject, read_subject

log = logging.getLogger(__name__)


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
    heed: measure.Progress
    floors: dict[int, Bools] = field(default_factory=dict)

    def floor(self, source_side: int) -> Bools:
        """Where the target is wrong on its clean images brought to the source's size: once a size."""
        if source_side not in self.floors:
            self.floors[source_side] = measure.floor(
                self.classifier,
                self.images,
                self.labels,
                self.correct,
                source_side=source_side,
                progress=self.heed,
            )
        return self.floors[source_side]


def run(context: Context, lease: Lease) -> None:
    """Measure the pending cells of the lowest rung; what comes meanwhile, or is of a later rung, takes another turn."""
    claimed = lease.claim
    with context.sessions.begin() as session:
        subject = read_subject(session, claimed)
        network, image_set = subject.network, subject.image_set
        cells = pending_cells(session, network.id, subject.comparison_id, image_set, sources=claimed.sources)
    # what failed before may do so again: each cell is noted, and recorded by itself
    together = 0.0 if claimed.attempt > 1 else context.settings.record_seconds
    with recording(context.sessions, context.bell.ring, claimed, together) as recorder:
        if cells:
            _measure(context, lease, subject, [cell for cell in cells if cell.rung == cells[0].rung], recorder)
        with recorder.recorded() as (session, asked):
            left = pending_cells(session, network.id, subject.comparison_id, image_set, sources=asked)
            first = left[0] if left else None
            finish_with(session, claimed, first.rung if first else None, nearness=first.nearness if first else None)
            news = not left and news_is_wanted(session)
    if news:
        # after the commit: a job is not asked for while comparisons are locked; Remembering asks where this is lost
        with transaction(context.sessions, context.bell.ring) as session:
            want(session, JobKind.NOTIFY)


def _measure(context: Context, lease: Lease, subject: Subject, cells: list[Cell], recorder: Recorder) -> None:
    """Measure cells of one rung until they are done or more urgent work waits.

    A source whose images cannot be read now is left for later: UnavailableError is raised after the others.
    """
    unavailable: UnavailableError | None = None
    target = _load_target(context, lease, subject, cells[0].rung)
    sources = sources_of(context, subject.comparison_id, subject.image_set, subject.network, cells)
    suspicious = lease.claim.attempt > 1
    recorder.begin()
    for done, (cell, source) in enumerate(sources):
        lease.check_between_results(done / len(cells))
        if source is None:
            continue
        if suspicious:
            with context.sessions.begin() as session:
                note_cell(session, lease.claim, cell.source_id, cell.rung)
        try:
            record = _transfer(context, lease, subject, target, source, before_long_work=recorder.flush)
        except UnavailableError as error:
            unavailable = error
        except OtherImagesError as error:
            log.warning("%s comes out otherwise when it is attacked again: so are its cells", error)
            with transaction(context.sessions, context.bell.ring) as session:
                replace_attack(session, lease.claim, cell.source_id, cell.rung, error.attack.images_sha256)
        except EngineError as error:
            with transaction(context.sessions, context.bell.ring) as session:
                record_refusal(session, lease.claim, cell.source_id, cell.rung, str(error))
        else:
            if recorder.add(record, priority_after(cells, done)):
                return
    if unavailable is not None:
        raise unavailable


def priority_after(cells: list[Cell], done: int) -> int | None:
    """What another target's work must precede to go before the next cell; None after the last.

    One level nearer is not worth loading another target for.
    """
    if done + 1 == len(cells):
        return None
    following = cells[done + 1]
    return priority_of(JobKind.TRANSFERS, following.rung, following.nearness) - 1


def _load_target(context: Context, lease: Lease, subject: Subject, rung: int) -> _Target:
    network, image_set = subject.network, subject.image_set
    images, labels = context.image_sets.reader(image_set).read(Part.ATTACK, rung)
    with context.sessions() as session:
        evaluation = clean_evaluation(session, network.id, image_set, rung)
    classifier = load_classifier(context, network, image_set)
    require_same_bits(classifier, evaluation, images, labels, progress=lease.heed)
    require_parity(context, lease, subject, classifier)
    return _Target(
        network=network,
        image_set=image_set,
        classifier=classifier,
        rung=rung,
        images=images,
        labels=labels,
        correct=clean_bits(evaluation),
        heed=lease.heed,
    )


def _transfer(
    context: Context,
    lease: Lease,
    subject: Subject,
    target: _Target,
    source: Source,
    *,
    before_long_work: Callable[[], object],
) -> TransferRecord:
    resized = source.network.input_side != target.network.input_side
    if source.attack.images is None or (resized and source.ceiling is None):
        before_long_work()
    made = adversarial_images(context, lease, subject, source.attack)
    started = time.perf_counter()
    common = clean_bits(source.evaluation) & target.correct
    fooled = measure.transfer(
        target.classifier, made["images"], made["positions"], target.labels, common, progress=target.heed
    )
    floor_fooled = ceiling_fooled = None
    if resized:
        floor_fooled = target.floor(source.network.input_side) & common
        ceiling_fooled = _ceiling(context, target, source, made)
    return TransferRecord(
        source_id=source.network.id,
        rung=target.rung,
        common=int(common.sum()),
        fooled=fooled,
        floor_fooled=floor_fooled,
        ceiling_fooled=ceiling_fooled,
        numeric_path=target.classifier.numeric_path,
        images_sha256=source.attack.images_sha256,
        seconds=time.perf_counter() - started,
    )


def _ceiling(context: Context, target: _Target, source: Source, made: Arrays) -> Bools:
    """Where the source is fooled by its own images after the target's size: once a source, size and rung.

    UnavailableError where this worker computes other clean bits of the source than are recorded.
    """
    if source.ceiling is not None:
        return source.ceiling
    classifier = load_classifier(context, source.network, target.image_set)
    require_same_bits(classifier, source.evaluation, target.images, target.labels, progress=target.heed)
    return measure.ceiling(
        classifier,
        made["images"],
        made["positions"],
        target.labels,
        target_side=target.network.input_side,
        progress=target.heed,
    )
