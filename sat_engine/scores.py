"""SAT from counts: similarity by attack transferability, with its interval.

For models A and B, over the N images that both classify correctly clean, with fooled(A→B) the images whose
adversarial version made against A fools B (Hwang et al., "Similarity of Neural Architectures using
Adversarial Attack Transferability"):

    rate = (fooled(A→B) + fooled(B→A)) / (2 N)        SAT = ln(max(floor_percent, 100 rate))
"""

from dataclasses import dataclass
from typing import cast

import numpy as np
from numpy.typing import NDArray

from sat_engine.errors import NotComputableError

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]
Counts = NDArray[np.integer]

# The smallest rate that is told from zero, in percent: one fooled image of 5,000 in both directions.
FLOOR_PERCENT = 0.01
_Z95 = 1.959963984540054  # the normal distribution's 97.5 % quantile
# For 0 ... 10 events, the mean at which a Poisson variable reaches that number in 5 % of draws: chi2.ppf(.05, 2 x) / 2.
_RARE = np.array([0, 0.05129, 0.35536, 0.81769, 1.36632, 1.97015, 2.61301, 3.28532, 3.98082, 4.69523, 5.42541])
MISSING = -1  # in arrays of counts: this direction was not measured


@dataclass(frozen=True, slots=True)
class PairCounts:
    """What a score is made of: n images common to both, fooled ones by direction; None where not measured.

    fooled_both counts images fooled in both directions; it is None unless both were measured.
    Raises ValueError where no n images can have these counts.
    """

    n: int
    fooled_ab: int | None
    fooled_ba: int | None
    fooled_both: int | None

    def __post_init__(self) -> None:
        ab, ba, both = self.fooled_ab, self.fooled_ba, self.fooled_both
        if (both is None) != (ab is None or ba is None):
            raise ValueError("fooled_both is there exactly when both directions are")
        if any(not 0 <= fooled <= self.n for fooled in (ab, ba) if fooled is not None):
            raise ValueError(f"{ab} and {ba} images cannot be fooled of {self.n}")
        if (
            ab is not None
            and ba is not None
            and both is not None
            and not max(0, ab + ba - self.n) <= both <= min(ab, ba)
        ):
            raise ValueError(f"{both} images cannot be fooled both ways, with {ab} and {ba} of {self.n}")


@dataclass(frozen=True, slots=True)
class Score:
    """A pair's SAT with its 95 % interval; interval is of SAT, percent_interval of percent = 100 · rate.

    at_floor: percent is not above the floor, so SAT is only known to be at most interval[1].
    """

    n: int
    percent: float
    sat: float
    interval: tuple[float, float]
    percent_interval: tuple[float, float]
    at_floor: bool
    one_sided: bool


@dataclass(frozen=True, slots=True)
class ScoreArrays:
    """Scores of many pairs, each array (pairs,); NaN in the floats where n is 0 or nothing was measured."""

    percent: Floats
    sat: Floats
    sat_low: Floats
    sat_high: Floats
    percent_low: Floats
    percent_high: Floats
    at_floor: Bools
    one_sided: Bools


def count_pair(correct_a: Bools, correct_b: Bools, fooled_ab: Bools | None, fooled_ba: Bools | None) -> PairCounts:
    """Return the counts over the images that both classify correctly.

    All arrays are bool (images,) over the same positions; fooled_ab says where A's adversarial image fools B.
    None for a direction that was not measured.
    """
    if len({array.shape for array in (correct_a, correct_b, fooled_ab, fooled_ba) if array is not None}) != 1:
        raise ValueError("the arrays of a pair must cover the same positions")
    common = correct_a & correct_b
    ab = None if fooled_ab is None else fooled_ab & common
    ba = None if fooled_ba is None else fooled_ba & common
    return PairCounts(
        n=int(common.sum()),
        fooled_ab=None if ab is None else int(ab.sum()),
        fooled_ba=None if ba is None else int(ba.sum()),
        fooled_both=None if ab is None or ba is None else int((ab & ba).sum()),
    )


def score(counts: PairCounts, *, floor_percent: float = FLOOR_PERCENT) -> Score:
    """Return the pair's score; NotComputableError where there is none.

    With one direction only, its rate alone is the pair's and `one_sided` is set.
    """
    if counts.fooled_ab is None and counts.fooled_ba is None:
        raise NotComputableError("neither direction of this pair has been measured yet")
    if counts.n == 0:
        raise NotComputableError("no image is classified correctly by both models, so there is nothing to compare on")
    columns = (counts.n, counts.fooled_ab, counts.fooled_ba, counts.fooled_both)
    many = score_many(
        *(np.array([MISSING if value is None else value]) for value in columns), floor_percent=floor_percent
    )
    return Score(
        n=counts.n,
        percent=float(many.percent[0]),
        sat=float(many.sat[0]),
        interval=(float(many.sat_low[0]), float(many.sat_high[0])),
        percent_interval=(float(many.percent_low[0]), float(many.percent_high[0])),
        at_floor=bool(many.at_floor[0]),
        one_sided=bool(many.one_sided[0]),
    )


def score_many(
    n: Counts,
    fooled_ab: Counts,
    fooled_ba: Counts,
    fooled_both: Counts,
    *,
    floor_percent: float = FLOOR_PERCENT,
) -> ScoreArrays:
    """Return the scores of many pairs from integer counts, each array (pairs,); MISSING (-1) if not measured.

    A pair with one missing direction gets that direction's rate, with n for the interval.
    """
    has_ab, has_ba = fooled_ab >= 0, fooled_ba >= 0
    measured = (n > 0) & (has_ab | has_ba)
    images = np.where(measured, n, np.nan).astype(np.float64)
    both_ways = has_ab & has_ba
    rate = (np.maximum(fooled_ab, 0) + np.maximum(fooled_ba, 0)) / (images * np.where(both_ways, 2, 1))
    effective = np.where(both_ways, _effective_n(images, rate, fooled_both), images)
    low, high = wilson(rate, effective)
    return ScoreArrays(
        percent=100 * rate,
        sat=_sat(rate, floor_percent),
        sat_low=_sat(low, floor_percent),
        sat_high=_sat(high, floor_percent),
        percent_low=100 * low,
        percent_high=100 * high,
        at_floor=measured & (100 * rate <= floor_percent),
        one_sided=measured & (has_ab != has_ba),
    )


def wilson(rate: Floats, n: Floats) -> tuple[Floats, Floats]:
    """Return the bounds of Wilson's 95 % score interval (1927) for a rate seen on n trials; elementwise.

    Where few of the trials were events, or few were not, Wilson's nearer bound is too near: there it is Poisson's 5 %
    bound (Brown, Cai and DasGupta, 2001), which docs/decisions/0011-rare-events.md extends to where the two meet.
    """
    z2n = _Z95**2 / n
    centre = rate + z2n / 2
    half = np.sqrt(z2n * (rate * (1 - rate) + z2n / 4))
    # rounding may leave the bounds at 0 and 1 some 1e-17 off
    low = np.where(rate == 0, 0.0, np.minimum((centre - half) / (1 + z2n), _least_rate(rate, n)))
    high = np.where(rate == 1, 1.0, np.maximum((centre + half) / (1 + z2n), 1 - _least_rate(1 - rate, n)))
    return cast(
        "tuple[Floats, Floats]",
        (np.where(np.isnan(rate), np.nan, low), np.where(np.isnan(rate), np.nan, high)),
    )


def _least_rate(rate: Floats, n: Floats) -> Floats:
    """Return Poisson's lower 5 % bound of a rate seen on n trials, and the rate itself above 10 events."""
    events = rate * n
    few = events < len(_RARE) - 1
    return cast("Floats", np.where(few, np.interp(events, np.arange(len(_RARE)), _RARE) / n, rate))


def above_noise(fooled: Bools, noise_fooled: Bools) -> bool:
    """Return whether a transfer fools its target more often than random noise of the same size does.

    fooled and noise_fooled are bool (n,) over the n common images: where the adversarial image, and where the
    noise corner, fools the target. With no image it is False. The test is that of `above_noise_counts`.
    """
    if fooled.shape != noise_fooled.shape:
        raise ValueError("a transfer and its target's noise must cover the same images")
    counts = ((fooled & ~noise_fooled).sum(), (noise_fooled & ~fooled).sum(), fooled.size)
    return bool(above_noise_counts(*(np.array([count]) for count in counts))[0])


def above_noise_counts(only_transfer: Counts, only_noise: Counts, n: Counts) -> Bools:
    """Return, elementwise, whether transfers (k,) rise above their targets' noise, from counts.

    Of n images common to both, only_transfer are fooled by the adversarial image alone, only_noise by noise alone.
    True where the 95 % interval of the paired difference of the two rates lies above 0 (Agresti & Min, 2005: half a
    pair added to each of the four cells).
    """
    images = n + 2.0
    transfer, noise = only_transfer + 0.5, only_noise + 0.5
    difference = (transfer - noise) / images
    variance = ((transfer + noise) / images - difference**2) / images
    return np.asarray(difference > _Z95 * np.sqrt(variance))


def _sat(rate: Floats, floor_percent: float) -> Floats:
    return cast("Floats", np.log(np.maximum(floor_percent, 100 * rate)))  # np.maximum keeps NaN


def _effective_n(n: Floats, rate: Floats, fooled_both: Counts) -> Floats:
    """Return how many independent trials n images fooled at rate, in two directions each, are worth.

    n · r(1 - r) / s², with s² the variance over images of the mean of an image's two bits: between n (the
    directions always agree) and 2 n (they are independent); n where s² = 0.
    """
    # an image's mean is 1 when fooled both ways (share `both`), 1/2 when fooled one way (2 · rate - 2 · both)
    both = np.maximum(fooled_both, 0) / n
    variance = both + (2 * rate - 2 * both) / 4 - rate**2
    tiny = 1e-12  # rounding leaves about 1e-17 where the variance is 0, and 1 image of a million gives 1e-7
    worth = rate * (1 - rate) / np.where(variance > tiny, variance, np.inf)
    return n * np.where(variance > tiny, np.clip(worth, 1, 2), 1)
