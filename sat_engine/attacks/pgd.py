"""Projected gradient descent."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from sat_engine.classifier import Classifier
from sat_engine.errors import NotComputableError


@dataclass(frozen=True, kw_only=True, slots=True)
class PGD:
    """Untargeted L-infinity projected gradient descent (Madry et al., 2018), started at the image.

    epsilon and step_size are in units of a [0, 1] pixel.
    """

    epsilon: float = 8 / 255
    step_size: float = 2 / 255
    steps: int = 50

    def perturb(self, model: Classifier, images: Tensor, labels: Tensor) -> Tensor:
        """Return images (n, c, h, w) in [0, 1], each moved at most epsilon to raise the model's loss.

        Raises NotComputableError, after the last step, where a gradient was not a number at any step.
        """
        low, high = (images - self.epsilon).clamp(min=0), (images + self.epsilon).clamp(max=1)
        adversarial = images.clone()
        lost = torch.zeros(len(images), dtype=torch.bool, device=images.device)
        for _ in range(self.steps):
            adversarial.requires_grad_()
            # summed, not averaged: a step must not depend on the batch size
            loss = functional.cross_entropy(model(adversarial).float(), labels, reduction="sum")
            (gradient,) = torch.autograd.grad(loss, adversarial)
            # the sign of NaN is 0: unnoticed, such an image would never move and its network look unfoolable.
            # Kept on the device and read once, since a look at every step would stall it.
            # The largest of numbers and a NaN is the NaN; a mask of all pixels would take twenty times as long.
            lost |= gradient.amax(dim=(1, 2, 3)).isnan()
            # in place: on a CPU, fresh memory costs more than the arithmetic
            adversarial = torch.add(adversarial.detach(), gradient.sign_(), alpha=self.step_size).clamp_(low, high)
        if count := int(lost.sum()):
            raise NotComputableError(
                f"the loss has no gradient (it is not a number) on {count} of {len(images)} images, "
                "so this network cannot be attacked; look for a square root or a division at zero in it"
            )
        return adversarial
