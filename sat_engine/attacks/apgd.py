"""Auto-PGD: projected gradient descent that halves its own step."""

from dataclasses import dataclass

import torch
from torch import Tensor

from sat_engine.attacks.draws import Draws
from sat_engine.attacks.slope import Slope
from sat_engine.classifier import Classifier

# Croce and Hein, 2020, section 3: checkpoints, in shares of the steps, and the share of rising steps that is enough
_FIRST, _SHRINK, _LEAST = 0.22, 0.03, 0.06
_ENOUGH = 0.75
_INERTIA = 0.75  # alpha of their Algorithm 1: the share of a step that is not momentum


@dataclass(frozen=True, kw_only=True, slots=True)
class APGD:
    """Auto-PGD on the cross-entropy (Croce and Hein, 2020, Algorithm 1): AutoAttack's first and strongest part.

    step_size is the first step. draws: where it starts in the ball; None for the image itself. Every image has its
    own step and its own best point, so none depends on its batch.
    """

    epsilon: float
    step_size: float
    steps: int
    draws: Draws | None

    def perturb(self, model: Classifier, images: Tensor, labels: Tensor) -> Tensor:
        """Return images (n, c, h, w) in [0, 1], the point of highest loss that each passed, at most epsilon away.

        Raises NotComputableError, after the last step, where a gradient was not a number at any step.
        """
        start = images
        if self.draws is not None:
            drawn = self.draws.uniform(images, 0)
            # scaled so that it touches the ball's surface
            start = images + self.epsilon * drawn / drawn.abs().amax(dim=(1, 2, 3), keepdim=True)
        return self.climb(model, images, labels, start.clamp(0, 1))

    def climb(self, model: Classifier, images: Tensor, labels: Tensor, start: Tensor) -> Tensor:
        """Return what perturb does, from this start (n, c, h, w)."""
        slope = Slope(model, labels)
        low, high = (images - self.epsilon).clamp(min=0), (images + self.epsilon).clamp(max=1)
        loss, gradient = slope.at(start)
        best = _Best(start, gradient, loss)
        pace = _Pace(loss, self.step_size, self.steps)
        here = previous = start
        for step in range(self.steps):
            moved = (here + pace.step_size * gradient.sign()).clamp(low, high)
            if step > 0:
                moved = (here + _INERTIA * (moved - here) + (1 - _INERTIA) * (here - previous)).clamp(low, high)
            here, previous = moved, here
            loss, gradient = slope.at(here)
            best.note(here, gradient, loss)
            halved = pace.note(loss, best.loss)
            if halved is not None:
                here = torch.where(_wide(halved), best.images, here)
                gradient = torch.where(_wide(halved), best.gradient, gradient)
        slope.require_sound()
        return best.images


class _Best:
    """The point of highest loss that each image has passed, and the gradient there."""

    def __init__(self, images: Tensor, gradient: Tensor, loss: Tensor) -> None:
        self.images, self.gradient, self.loss = images, gradient, loss

    def note(self, images: Tensor, gradient: Tensor, loss: Tensor) -> None:
        better = loss > self.loss
        self.images = torch.where(_wide(better), images, self.images)
        self.gradient = torch.where(_wide(better), gradient, self.gradient)
        self.loss = torch.where(better, loss, self.loss)


class _Pace:
    """The step of each image, halved at a checkpoint where the loss rises too seldom or has not risen."""

    def __init__(self, loss: Tensor, step_size: float, steps: int) -> None:
        self.step_size = torch.full_like(loss, step_size)[:, None, None, None]
        self._interval, self._passed = max(int(_FIRST * steps), 1), 0
        self._shrink, self._least = max(int(_SHRINK * steps), 1), max(int(_LEAST * steps), 1)
        self._last, self._rises = loss, torch.zeros_like(loss)
        # nothing can be halved for want of a rise at the first checkpoint
        self._halved, self._best = torch.ones_like(loss, dtype=torch.bool), loss

    def note(self, loss: Tensor, best: Tensor) -> Tensor | None:
        """Return which images (n,) have their step halved now; None between checkpoints."""
        self._rises += loss > self._last
        self._last = loss
        self._passed += 1
        if self._passed < self._interval:
            return None
        stuck = ~self._halved & (best <= self._best)
        halved = (self._rises <= _ENOUGH * self._interval) | stuck
        self.step_size = torch.where(_wide(halved), self.step_size / 2, self.step_size)
        self._halved, self._best = halved, best
        self._rises, self._passed = torch.zeros_like(loss), 0
        self._interval = max(self._interval - self._shrink, self._least)
        return halved


def _wide(flags: Tensor) -> Tensor:
    return flags[:, None, None, None]
