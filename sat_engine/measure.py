"""Measuring one network on one part of an image set.

Images are uint8 (n, side, side, channels) in the part's order. A chunk is the positions [k · c, (k + 1) · c) of the
arrays given, c being the classifier's batch.chunk; the images of a chunk that are needed (source-correct, common) go
through the network together, or in pieces where memory does not suffice.
So a rung computed whole, resumed at a chunk, or in any order of chunks gives equal bits.
"""

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import wraps
from typing import Concatenate, ParamSpec, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sat_engine import noise
from sat_engine.attacks import attack_for
from sat_engine.batching import BatchHalvedError, Pass, give_back_memory
from sat_engine.classifier import BATCH, Classifier
from sat_engine.errors import NotComputableError
from sat_engine.geometry import resize
from sat_engine.precision import exact_float32
from sat_engine.protocol import Protocol

__all__ = ["BATCH", "AttackResult", "attack", "ceiling", "correct", "evaluate", "floor", "transfer"]

Images = NDArray[np.uint8]
Bools = NDArray[np.bool_]
Integers = NDArray[np.integer]
Logits = NDArray[np.float32]
Progress = Callable[[float], None]
P = ParamSpec("P")
R = TypeVar("R")


def _again_when_halved(measure: Callable[Concatenate[Classifier, P], R]) -> Callable[Concatenate[Classifier, P], R]:
    """Begin a call anew with a smaller batch, so that all of its result has one numeric path."""

    @wraps(measure)
    def call(classifier: Classifier, *args: P.args, **kwargs: P.kwargs) -> R:
        while True:
            with suppress(BatchHalvedError):
                return measure(classifier, *args, **kwargs)
            # only now is the error gone, with the tensors that its frames held
            give_back_memory(classifier.device)

    return call  # type: ignore[return-value]  # the first argument keeps its name, which mypy minds here


@dataclass(frozen=True, kw_only=True, slots=True)
class AttackResult:
    """The adversarial images of one source on one rung of n positions.

    images: uint8 (m, s, s, channels) at the source's input size, for the m positions it classifies correctly.
    positions: int32 (m,), rising, into the rung. fooled, noise_fooled: bool (n,), where the source is wrong on its
    own stored image and on the noise corner; never set where it is wrong already on the clean image.
    """

    images: Images
    positions: NDArray[np.int32]
    fooled: Bools
    noise_fooled: Bools


@_again_when_halved
def evaluate(classifier: Classifier, images: Images, *, progress: Progress | None = None) -> Logits:
    """Return float32 logits (n, classes) of the clean images; progress hears shares of 1.

    Raises NotComputableError where logits are not finite.
    """
    logits = np.empty((len(images), len(classifier.class_map)), np.float32)
    for chunk in _chunks(classifier, len(images), progress):
        logits[chunk] = _logits(classifier, images[chunk], first=chunk.start)
    return logits


def correct(logits: Logits, labels: Integers) -> Bools:
    """Return where (n,) the highest of logits (n, classes) is the label's; the first of equal ones counts."""
    return np.asarray(logits.argmax(axis=1) == labels)


@_again_when_halved
def attack(
    classifier: Classifier,
    images: Images,
    labels: Integers,
    correct: Bools,
    protocol: Protocol,
    *,
    positions_from: int = 0,
    progress: Progress | None = None,
) -> AttackResult:
    """Attack the images (n, …) that the source classifies correctly, and measure it on the stored bytes.

    positions_from is where images[0] stands in the attack part: all that is random about an image is keyed by it.
    Raises NotComputableError where gradients or logits are not finite.
    """
    positions = np.flatnonzero(correct).astype(np.int32)
    side = classifier.input_side
    adversarial = np.empty((len(positions), side, side, images.shape[3]), np.uint8)
    fooled, noise_fooled = np.zeros(len(images), np.bool_), np.zeros(len(images), np.bool_)
    for chunk in _chunks(classifier, len(images), progress):
        rows = _rows(positions, chunk)
        here = positions[rows]
        if not len(here):
            continue
        clean = resize(images[here], side)
        adversarial[rows] = _perturbed(classifier, clean, labels[here], protocol, here + positions_from)
        fooled[here] = _wrong(classifier, adversarial[rows], labels[here], first=chunk.start)
        corners = noise.corners(clean, here + positions_from, epsilon=protocol.epsilon, seed=protocol.seed)
        noise_fooled[here] = _wrong(classifier, corners, labels[here], first=chunk.start)
    return AttackResult(images=adversarial, positions=positions, fooled=fooled, noise_fooled=noise_fooled)


@_again_when_halved
def transfer(
    target: Classifier,
    adversarial: Images,
    positions: Integers,
    labels: Integers,
    common: Bools,
    *,
    progress: Progress | None = None,
) -> Bools:
    """Return where (n,) a source's adversarial images fool the target, among the common positions.

    adversarial (m, s, s, channels) and positions (m,) are an AttackResult's; common (n,) is set where source and
    target are both right on the clean image, and only those images are looked at.
    """
    fooled = np.zeros(len(labels), np.bool_)
    for chunk in _chunks(target, len(labels), progress):
        rows = _rows(positions, chunk)
        rows = rows[common[positions[rows]]]
        here = positions[rows]
        if len(here):
            fooled[here] = _wrong(target, adversarial[rows], labels[here], first=chunk.start)
    return fooled


@_again_when_halved
def floor(
    target: Classifier,
    images: Images,
    labels: Integers,
    common: Bools,
    *,
    source_side: int,
    progress: Progress | None = None,
) -> Bools:
    """Return where (n,) the target is wrong on the clean image brought to source_side and back: resizing alone."""
    fooled = np.zeros(len(labels), np.bool_)
    for chunk in _chunks(target, len(labels), progress):
        here = chunk.start + np.flatnonzero(common[chunk])
        if len(here):
            resized = resize(images[here], source_side)
            fooled[here] = _wrong(target, resized, labels[here], first=chunk.start)
    return fooled


@_again_when_halved
def ceiling(
    source: Classifier,
    adversarial: Images,
    positions: Integers,
    labels: Integers,
    *,
    target_side: int,
    progress: Progress | None = None,
) -> Bools:
    """Return where (n,) the source is fooled by its own images after they went to target_side and came back."""
    fooled = np.zeros(len(labels), np.bool_)
    for chunk in _chunks(source, len(labels), progress):
        rows = _rows(positions, chunk)
        here = positions[rows]
        if len(here):
            returned = resize(resize(adversarial[rows], target_side), source.input_side)
            fooled[here] = _wrong(source, returned, labels[here], first=chunk.start)
    return fooled


def _chunks(classifier: Classifier, n: int, progress: Progress | None) -> Iterator[slice]:
    for start in range(0, n, classifier.batch.chunk):
        stop = min(start + classifier.batch.chunk, n)
        yield slice(start, stop)
        if progress:
            progress(stop / n)


def _rows(positions: Integers, chunk: slice) -> NDArray[np.intp]:
    """Return which rows of rising positions (m,) lie in the chunk."""
    first, last = np.searchsorted(positions, [chunk.start, chunk.stop])
    return np.arange(first, last)


def _perturbed(
    classifier: Classifier, clean: Images, labels: Integers, protocol: Protocol, positions: Integers
) -> Images:
    """Return the attacked images as bytes (n, s, s, channels), within whole levels of epsilon of clean."""
    rounded = np.empty(clean.shape, np.int16)
    for piece in classifier.batch.pieces(len(clean), Pass.GRADIENT):
        with exact_float32(), classifier.batch.fitting(Pass.GRADIENT):
            targets = torch.from_numpy(labels[piece].astype(np.int64)).to(classifier.device)
            moved = attack_for(protocol, positions[piece]).perturb(
                classifier, _pixels(classifier, clean[piece]), targets
            )
            rounded[piece] = (255 * moved).round().to(torch.int16).permute(0, 2, 3, 1).cpu().numpy()
    # where 255 · epsilon is not whole, rounding may leave the ball by a fraction of a level: come back
    room = noise.levels(protocol.epsilon)
    low, high = np.maximum(clean.astype(np.int16) - room, 0), np.minimum(clean.astype(np.int16) + room, 255)
    stored: Images = np.clip(rounded, low, high).astype(np.uint8)
    return stored


def _wrong(classifier: Classifier, images: Images, labels: Integers, *, first: int) -> Bools:
    return ~correct(_logits(classifier, images, first=first), labels)


def _logits(classifier: Classifier, images: Images, *, first: int) -> Logits:
    """Return logits of a chunk's images of any size; first is the position of the chunk, for the error."""
    resized = resize(images, classifier.input_side)
    logits = np.empty((len(images), len(classifier.class_map)), np.float32)
    for piece in classifier.batch.pieces(len(images), Pass.FORWARD):
        with torch.no_grad(), exact_float32(), classifier.batch.fitting(Pass.FORWARD):
            logits[piece] = classifier(_pixels(classifier, resized[piece])).cpu().numpy()
    if unfit := int((~np.isfinite(logits)).any(axis=1).sum()):
        raise NotComputableError(
            f"the network's logits are not finite on {unfit} of {len(images)} images from position {first} on; "
            "check its weights, and its mean and std"
        )
    return logits


def _pixels(classifier: Classifier, images: Images) -> Tensor:
    """Return bytes (n, s, s, channels) as float32 pixels (n, channels, s, s) in [0, 1] on the classifier's device."""
    return torch.from_numpy(np.array(images)).to(classifier.device).permute(0, 3, 1, 2).float() / 255
