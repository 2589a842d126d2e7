"""What an ensemble is worth, beside the ensembles that one would have taken without SAT.

Choosing reads the select part and judging the report part, in different functions: `choose_baselines` has no way to see
what `compare` and `judge` report.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import combinations
from math import comb
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sat_engine.errors import NotComputableError
from sat_engine.scores import wilson

ROWS = 256  # images at once: with 1,000 classes a block of float32 is 1 MB and stays in the cache
SHORTLIST = 50  # forward selection over 1,300 models takes minutes, over the 50 most accurate seconds
DRAWS = 30  # random ensembles: their mean is known to about a fifth of their spread

Logits: TypeAlias = NDArray[np.float32]
Floats: TypeAlias = NDArray[np.float64]
Ints: TypeAlias = NDArray[np.int64]


class Combine(StrEnum):
    """How members' outputs become one answer."""

    LOGITS = "logits"  # their unweighted mean, as in the paper (section 5.1)
    PROBABILITIES = "probabilities"  # mean of softmax: no member counts more for having larger logits


@dataclass(frozen=True, kw_only=True, slots=True)
class Worth:
    """An ensemble on n images. Rates are in [0, 1]."""

    n: int
    top1: float
    interval: tuple[float, float]  # Wilson, 95 %, of top1
    error_reduction_rate: float  # 1 - error / mean error of the members; 0 where no member errs
    all_wrong: float  # share of images that every member gets wrong
    member_top1: tuple[float, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Spread:
    """Random ensembles: mean and standard deviation over the draws."""

    draws: int
    top1_mean: float
    top1_sd: float
    error_reduction_rate_mean: float
    error_reduction_rate_sd: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Baselines:
    """Who is judged beside the recommendation, as positions among the candidates; chosen on the select part."""

    best_single: int
    most_accurate: tuple[int, ...]
    forward: tuple[int, ...]  # in the order of choice
    random: tuple[tuple[int, ...], ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """A recommendation and its baselines, judged on the report part."""

    ensemble: Worth
    best_single: Worth
    most_accurate: Worth
    forward: Worth
    random: Spread


def judge(logits: Sequence[Logits], labels: ArrayLike, *, combine: Combine = Combine.LOGITS) -> Worth:
    """Return what the members' logits, each (n, classes), are worth together on images with these labels (n,).

    Raises NotComputableError when there are no images.
    """
    truth = _labels(labels, logits)
    wrong_together = wrong_all = 0
    wrong = np.zeros(len(logits), dtype=np.int64)
    for rows in _blocks(len(truth)):
        blocks = [member[rows] for member in logits]
        members_wrong = np.array([block.argmax(axis=1) != truth[rows] for block in blocks])
        wrong += members_wrong.sum(axis=1)
        wrong_all += int(members_wrong.all(axis=0).sum())
        together = sum((_voice(block, combine) for block in blocks[1:]), start=_voice(blocks[0], combine))
        wrong_together += int((together.argmax(axis=1) != truth[rows]).sum())
    n, mean_wrong = len(truth), float(wrong.mean())
    top1 = 1 - wrong_together / n
    low, high = wilson(np.array([top1]), np.array([float(n)]))
    return Worth(
        n=n,
        top1=top1,
        interval=(float(low[0]), float(high[0])),
        error_reduction_rate=1 - wrong_together / mean_wrong if mean_wrong else 0.0,
        all_wrong=wrong_all / n,
        member_top1=tuple((1 - wrong / n).tolist()),
    )


def compare(
    members: Sequence[int],
    baselines: Baselines,
    report_logits: Callable[[int], Logits],
    report_labels: ArrayLike,
    *,
    combine: Combine = Combine.LOGITS,
) -> Comparison:
    """Return the worth of the members (positions among the candidates) and of the baselines on the report part."""

    def worth(of: Sequence[int]) -> Worth:
        return judge([report_logits(i) for i in of], report_labels, combine=combine)

    drawn = [worth(of) for of in baselines.random]
    top1 = np.array([each.top1 for each in drawn])
    reduction = np.array([each.error_reduction_rate for each in drawn])
    return Comparison(
        ensemble=worth(members),
        best_single=worth([baselines.best_single]),
        most_accurate=worth(baselines.most_accurate),
        forward=worth(baselines.forward),
        random=Spread(
            draws=len(drawn),
            top1_mean=float(top1.mean()),
            top1_sd=float(top1.std()),
            error_reduction_rate_mean=float(reduction.mean()),
            error_reduction_rate_sd=float(reduction.std()),
        ),
    )


def choose_baselines(
    n: int,
    select_accuracy: ArrayLike,
    select_logits: Callable[[int], Logits],
    select_labels: ArrayLike,
    *,
    combine: Combine = Combine.LOGITS,
    seed: int = 0,
) -> Baselines:
    """Return the baselines of n members among candidates of these accuracies (m,), m >= n; ties to the first.

    `select_logits(i)` returns candidate i's logits (images, classes) and is asked for the SHORTLIST most accurate only.
    """
    accuracy = np.asarray(select_accuracy, dtype=np.float64)
    ranked = [int(i) for i in np.argsort(-accuracy, kind="stable")]
    shortlist = ranked[: max(SHORTLIST, n)]
    chosen = forward_selection([select_logits(i) for i in shortlist], select_labels, n, combine=combine)
    return Baselines(
        best_single=ranked[0],
        most_accurate=tuple(ranked[:n]),
        forward=tuple(shortlist[i] for i in chosen),
        random=random_members(len(accuracy), n, seed=seed),
    )


def forward_selection(
    select_logits: Sequence[Logits], select_labels: ArrayLike, n: int, *, combine: Combine = Combine.LOGITS
) -> tuple[int, ...]:
    """Return n positions, each the one that raises the accuracy of those before it most; ties to the first.

    Greedy forward selection of Caruana et al. (2004), without replacement, so that it has n members. A running sum is
    kept, so a step costs one addition a candidate.
    """
    truth = _labels(select_labels, select_logits)
    running = np.zeros(select_logits[0].shape, dtype=np.float32)
    chosen: list[int] = []
    while len(chosen) < n:
        right = np.zeros(len(select_logits), dtype=np.int64)
        right[chosen] = -1
        for rows in _blocks(len(truth)):
            for i in np.flatnonzero(right >= 0).tolist():
                together = running[rows] + _voice(select_logits[i][rows], combine)
                right[i] += int((together.argmax(axis=1) == truth[rows]).sum())
        chosen.append(int(right.argmax()))
        for rows in _blocks(len(truth)):
            running[rows] += _voice(select_logits[chosen[-1]][rows], combine)
    return tuple(chosen)


def random_members(m: int, n: int, *, draws: int = DRAWS, seed: int = 0) -> tuple[tuple[int, ...], ...]:
    """Return sets of n of m positions: all of them where there are at most `draws`, else that many different ones."""
    if comb(m, n) <= draws:
        return tuple(combinations(range(m), n))
    generator = np.random.default_rng(seed)
    drawn: dict[tuple[int, ...], None] = {}
    while len(drawn) < draws:
        drawn[tuple(sorted(generator.choice(m, n, replace=False).tolist()))] = None
    return tuple(drawn)


def _voice(logits: Logits, combine: Combine) -> Logits:
    """Return what a member adds to the sum."""
    if combine == Combine.LOGITS:
        return logits
    raised = np.exp(logits - logits.max(axis=1, keepdims=True))
    shares: Logits = raised / raised.sum(axis=1, keepdims=True)
    return shares


def _blocks(n: int) -> Iterator[slice]:
    return (slice(start, start + ROWS) for start in range(0, n, ROWS))


def _labels(labels: ArrayLike, logits: Sequence[Logits]) -> Ints:
    """Return the labels (n,), or raise what is wrong with them."""
    truth = np.asarray(labels, dtype=np.int64)
    if not len(logits):
        raise ValueError("an ensemble needs members")
    if len(shapes := {member.shape for member in logits}) > 1 or next(iter(shapes))[0] != len(truth):
        raise ValueError(f"{len(truth)} labels, but logits of the shapes {sorted(shapes)}")
    if not len(truth):
        raise NotComputableError("There are no images to judge on: the image set's part is empty.")
    return truth
