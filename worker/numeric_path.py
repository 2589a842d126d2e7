"""One numeric path a network: a worker of another one must reproduce the clean bits before it adds to them."""

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import select
from sqlalchemy.orm import Session

from registry.errors import UnavailableError
from registry.tables import EvaluationRow, ImageSetRow, Part
from sat_engine import bits, measure
from sat_engine.classifier import Classifier
from sat_engine.numeric_path import same_forward


def clean_evaluation(session: Session, network_id: int, image_set: ImageSetRow, rung: int) -> EvaluationRow:
    """A network's evaluation on one rung of the attack part."""
    return session.scalars(
        select(EvaluationRow).where(
            EvaluationRow.network_id == network_id,
            EvaluationRow.image_set_id == image_set.id,
            EvaluationRow.part == Part.ATTACK,
            EvaluationRow.rung == rung,
        )
    ).one()


def clean_bits(row: EvaluationRow) -> NDArray[np.bool_]:
    """Where (n,) the network is right."""
    return bits.unpack(row.correct, row.n)


def require_same_bits(
    classifier: Classifier,
    evaluation: EvaluationRow,
    images: NDArray[np.uint8],
    labels: NDArray[np.int64],
    *,
    progress: measure.Progress | None = None,
) -> None:
    """UnavailableError where this worker's numeric path gives other clean bits than those that are recorded.

    Results of two paths are mixed only while they agree on every clean image (docs/sat.md, Determinism); each result
    records its own path. Nothing is computed where both paths give the same logits, as far as the recorded one says:
    the releases that wrote no hardware into it are taken at their word, or every registry of theirs would stand still
    at its first clean bit that another processor turns.
    """
    if same_forward(classifier.numeric_path, evaluation.numeric_path):
        return
    correct = measure.correct(measure.evaluate(classifier, images, progress=progress), labels)
    differing = int((correct != clean_bits(evaluation)).sum())
    if differing:
        raise UnavailableError(
            f"this worker computes by {classifier.numeric_path!r}, the network was evaluated by "
            f"{evaluation.numeric_path!r}, and they differ on {differing} of {len(labels)} clean images: start a "
            "worker of the recorded kind, or have the network measured anew (`python -m registry re-evaluate`)."
        )
