"""The library's SAT equals a slow, obvious one in float64, count by count, on the same adversarial images."""

from collections.abc import Callable
from math import log
from typing import Any

import numpy as np
import pytest
import torch

from sat_engine import measure
from sat_engine.scores import count_pair, score

Resizer = Callable[[np.ndarray, int], np.ndarray]


class Reference:
    """A network in float64 that looks at one image at a time."""

    def __init__(self, trained: Any, exactly_resized: Resizer) -> None:
        self.network = trained.classifier.network
        self.spec = trained.spec
        self.exactly_resized = exactly_resized

    def is_right(self, image: np.ndarray, label: int) -> bool:
        """Whether the network gives the byte image (s, s, 1) its label."""
        side = self.spec.input_side
        levels = np.rint(self.exactly_resized(image[None], side)[0]) if image.shape[0] != side else image
        pixels = torch.tensor(levels[:, :, 0] / 255, dtype=torch.float64)
        normalised = (pixels - float(np.float32(self.spec.mean[0]))) / float(np.float32(self.spec.std[0]))
        self.network.double()
        try:
            with torch.no_grad():
                logits = self.network(normalised[None, None])[0].tolist()
        finally:
            self.network.float()
        return logits.index(max(logits)) == label


def reference_sat(pair: list[Reference], images: Any, labels: Any, made: list[Any]) -> tuple[Any, float]:
    """Return (N, fooled A→B, fooled B→A, fooled both) and SAT, by the definition, one image after another."""
    (a, b), n, ab, ba, both = pair, 0, 0, 0, 0
    adversarial_a, adversarial_b = ({int(p): x for p, x in zip(m.positions, m.images, strict=True)} for m in made)
    for position, (image, label) in enumerate(zip(images, labels, strict=True)):
        if not (a.is_right(image, label) and b.is_right(image, label)):
            continue
        n += 1
        b_is_fooled = not b.is_right(adversarial_a[position], label)
        a_is_fooled = not a.is_right(adversarial_b[position], label)
        ab += b_is_fooled
        ba += a_is_fooled
        both += a_is_fooled and b_is_fooled
    return (n, ab, ba, both), log(max(0.01, 100 * (ab + ba) / (2 * n)))


@pytest.fixture
def references(zoo: Any, exactly_resized: Resizer) -> dict[str, Reference]:
    """The zoo in float64."""
    return {name: Reference(trained, exactly_resized) for name, trained in zoo.items()}


@pytest.mark.parametrize("names", [("byobnet", "efficientnet"), ("byobnet", "nfnet"), ("nfnet", "efficientnet")])
def test_sat_is_the_definition_s(names: tuple[str, str], zoo: Any, digits: Any, results: Any, references: Any) -> None:
    one, other = (zoo[name] for name in names)
    made = [results[name] for name in names]
    common = one.correct & other.correct
    fooled_ab = measure.transfer(other.classifier, made[0].images, made[0].positions, digits.labels, common)
    fooled_ba = measure.transfer(one.classifier, made[1].images, made[1].positions, digits.labels, common)
    counts = count_pair(one.correct, other.correct, fooled_ab, fooled_ba)

    exact = [references[name] for name in names]
    expected_counts, expected_sat = reference_sat(exact, digits.images, digits.labels, made)

    assert (counts.n, counts.fooled_ab, counts.fooled_ba, counts.fooled_both) == expected_counts
    assert score(counts).sat == pytest.approx(expected_sat, abs=1e-12)
    assert counts.fooled_ab + counts.fooled_ba > 0, "a pair that nobody fools proves little"
