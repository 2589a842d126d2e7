"""Projected gradient descent along low frequencies."""

from dataclasses import dataclass
from math import ceil, pi

import torch
from torch import Tensor

from sat_engine.attacks.slope import Slope
from sat_engine.classifier import Classifier


@dataclass(frozen=True, kw_only=True, slots=True)
class LowFrequencyPGD:
    """PGD whose steps follow the signs of the gradient's low frequencies (after Guo, Frank and Weinberger, 2019).

    Of the s frequencies of each axis's cosine transform (DCT-II), the lowest ⌈frequencies · s⌉ are kept.
    """

    epsilon: float
    step_size: float
    steps: int
    frequencies: float

    def perturb(self, model: Classifier, images: Tensor, labels: Tensor) -> Tensor:
        """Return images (n, c, s, s) in [0, 1], each moved at most epsilon to raise the model's loss.

        Raises NotComputableError, after the last step, where a step has no direction that is a number.
        """
        slope = Slope(model, labels)
        low, high = (images - self.epsilon).clamp(min=0), (images + self.epsilon).clamp(max=1)
        keep = low_pass(images.shape[-1], self.frequencies).to(images.device)
        adversarial = images.clone()
        for _ in range(self.steps):
            _, gradient = slope.at(adversarial)
            smooth = keep @ gradient @ keep
            # 0 · ∞ is NaN, whose sign is 0
            slope.note(smooth.amax(dim=(1, 2, 3)).isnan())
            adversarial = (adversarial + self.step_size * smooth.sign()).clamp(low, high)
        slope.require_sound()
        return adversarial


def low_pass(side: int, share: float) -> Tensor:
    """Return the float32 matrix P (side, side), symmetric, for which P X P holds the low frequencies of X.

    With C the rows of the orthonormal DCT-II of the lowest ⌈share · side⌉ frequencies, P = Cᵀ C.
    """
    kept = torch.arange(ceil(share * side), dtype=torch.float64)[:, None]
    rows = torch.cos(pi / side * (torch.arange(side, dtype=torch.float64) + 0.5) * kept) * (2 / side) ** 0.5
    rows[0] /= 2**0.5
    product: Tensor = rows.T @ rows
    return product.float()
