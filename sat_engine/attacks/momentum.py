"""The fast gradient sign method with momentum, and with variance tuning."""

from dataclasses import dataclass

import torch
from torch import Tensor

from sat_engine.attacks.draws import Draws
from sat_engine.attacks.slope import Slope
from sat_engine.classifier import Classifier

_TINY = 1e-30  # an image without any gradient is left where it is, rather than divided by zero


@dataclass(frozen=True, kw_only=True, slots=True)
class MIFGSM:
    """Momentum iterative FGSM (Dong et al., 2018, Algorithm 1), started at the image.

        g(t + 1) = momentum · g(t) + ∇ / mean |∇|        x(t + 1) = clip(x(t) + step_size · sign g(t + 1))

    The paper divides by the sum |∇|: a constant factor, which the sign does not see.
    """

    epsilon: float
    step_size: float
    steps: int
    momentum: float

    def perturb(self, model: Classifier, images: Tensor, labels: Tensor) -> Tensor:
        """Return images (n, c, h, w) in [0, 1], each moved at most epsilon to raise the model's loss.

        Raises NotComputableError, after the last step, where a gradient was not a finite number at any step.
        """
        slope = Slope(model, labels)
        low, high = (images - self.epsilon).clamp(min=0), (images + self.epsilon).clamp(max=1)
        adversarial, direction = images.clone(), torch.zeros_like(images)
        for _ in range(self.steps):
            _, gradient = slope.at(adversarial)
            direction = self.momentum * direction + _normalised(gradient, slope)
            adversarial = (adversarial + self.step_size * direction.sign()).clamp(low, high)
        slope.require_sound()
        return adversarial


@dataclass(frozen=True, kw_only=True, slots=True)
class VMIFGSM:
    """MI-FGSM whose gradients are tuned by their variance around the image (Wang and He, 2021, Algorithm 1).

        g(t + 1) = momentum · g(t) + (∇ + v(t)) / mean |∇ + v(t)|
        v(t + 1) = mean of the gradients at x(t) + neighbourhood · epsilon · u, less ∇

    with `neighbours` draws u, uniform in (-1, 1) and seeded image by image.
    """

    epsilon: float
    step_size: float
    steps: int
    momentum: float
    neighbours: int
    neighbourhood: float
    draws: Draws

    def perturb(self, model: Classifier, images: Tensor, labels: Tensor) -> Tensor:
        """Return images (n, c, h, w) in [0, 1], as MIFGSM does."""
        slope = Slope(model, labels)
        low, high = (images - self.epsilon).clamp(min=0), (images + self.epsilon).clamp(max=1)
        adversarial, direction, variance = images.clone(), torch.zeros_like(images), torch.zeros_like(images)
        for step in range(self.steps):
            _, gradient = slope.at(adversarial)
            direction = self.momentum * direction + _normalised(gradient + variance, slope)
            variance = self._around(slope, adversarial, step) - gradient
            adversarial = (adversarial + self.step_size * direction.sign()).clamp(low, high)
        slope.require_sound()
        return adversarial

    def _around(self, slope: Slope, images: Tensor, step: int) -> Tensor:
        total, radius = torch.zeros_like(images), self.neighbourhood * self.epsilon
        for neighbour in range(self.neighbours):
            drawn = self.draws.uniform(images, step * self.neighbours + neighbour)
            total += slope.at(images + radius * drawn)[1]
        return total / self.neighbours


def _normalised(gradient: Tensor, slope: Slope) -> Tensor:
    """Return gradient (n, c, h, w) / mean |gradient|; the slope hears of images where that is not finite."""
    size = gradient.abs().mean(dim=(1, 2, 3), keepdim=True)
    # ∞ / ∞ is NaN, which momentum keeps for good: an image that no longer moves, unnoticed
    slope.note(~size.flatten().isfinite())
    return gradient / size.clamp(min=_TINY)
