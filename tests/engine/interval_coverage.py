"""How often the interval of a score covers the rate its counts were drawn from.

`python -m tests.engine.interval_coverage` prints the table of docs/sat.md. A pair's images are drawn independently; the
two directions have rates of their own and are anything from independent to as dependent as those rates allow.
"""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from sat_engine.scores import MISSING, score_many

IMAGES = (50, 100, 200, 500, 1000, 5000)
RATES = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.2, 0.5, 0.8, 0.95, 0.99, 0.995)
RATIOS = (1, 4, 20)
DEPENDENCES = (0.0, 0.5, 1.0)

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class World:
    """A pair of n images whose mean rate is `rate`.

    ratio: of the rates of the two directions; None measures one direction alone. dependence: 0 where an image's two
    directions are independent, 1 where they agree as often as the two rates allow.
    """

    n: int
    rate: float
    ratio: float | None
    dependence: float

    def counts(self, rng: np.random.Generator, draws: int) -> tuple[Counts, Counts, Counts, Counts]:
        """Return n, fooled A→B, fooled B→A and fooled both of each draw."""
        n = np.full(draws, self.n)
        if self.ratio is None:
            none = np.full(draws, MISSING)
            return n, rng.binomial(self.n, self.rate, draws), none, none
        ab = min(1.0, 2 * self.rate * self.ratio / (1 + self.ratio))
        ba = 2 * self.rate - ab
        both = ab * ba + self.dependence * (min(ab, ba) - ab * ba)
        rest = max(0.0, 1 - ab - ba + both)  # rounding may leave -1e-17
        drawn = rng.multinomial(self.n, [both, ab - both, ba - both, rest], draws)
        return n, drawn[:, 0] + drawn[:, 1], drawn[:, 0] + drawn[:, 2], drawn[:, 0]

    def coverage(self, *, draws: int, seed: int = 0) -> float:
        """Return the share of draws whose interval holds the rate."""
        many = score_many(*self.counts(np.random.default_rng(seed), draws))
        return float(np.mean((many.percent_low <= 100 * self.rate) & (100 * self.rate <= many.percent_high)))


def worlds(n: int) -> Iterator[World]:
    """Yield the grid at n images, two directions first, then one."""
    for rate, ratio, dependence in product(RATES, RATIOS, DEPENDENCES):
        yield World(n=n, rate=rate, ratio=ratio, dependence=dependence)
    for rate in RATES:
        yield World(n=n, rate=rate, ratio=None, dependence=0.0)


def table(draws: int = 20_000) -> Iterator[str]:
    """Yield the table's lines."""
    yield "| images | mean | least | at the rate | worlds below 94 % |"
    yield "| --- | --- | --- | --- | --- |"
    for n in IMAGES:
        found = {world: world.coverage(draws=draws) for world in worlds(n)}
        worst = min(found, key=lambda world: found[world])
        few = sum(covered < 0.94 for covered in found.values())
        mean = np.mean(list(found.values()))
        yield f"| {n} | {mean:.1%} | {found[worst]:.1%} | {100 * worst.rate:g} % | {few} of {len(found)} |"


if __name__ == "__main__":
    sys.stdout.writelines(f"{line}\n" for line in table())
