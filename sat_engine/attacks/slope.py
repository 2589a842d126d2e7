"""What iterative attacks climb: the loss of each image and its gradient."""

from torch import Tensor, autograd, zeros
from torch import bool as boolean
from torch.nn import functional

from sat_engine.classifier import Classifier
from sat_engine.errors import NotComputableError


class Slope:
    """The cross-entropy of a model on n labels, with its gradients, watched for what is no number."""

    def __init__(self, model: Classifier, labels: Tensor) -> None:
        """Take labels (n,) on the model's device."""
        self._model, self._labels = model, labels
        self._lost = zeros(len(labels), dtype=boolean, device=labels.device)

    def at(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return the loss (n,) of images (n, c, h, w) in [0, 1], in float32, and its gradient, as the images are."""
        images = images.detach().requires_grad_()
        loss = functional.cross_entropy(self._model(images).float(), self._labels, reduction="none")
        # summed, not averaged: a step must not depend on the batch size
        (gradient,) = autograd.grad(loss.sum(), images)
        # Kept on the device and read once: a look at every step would stall it. The sign of NaN is 0, so that,
        # unnoticed, such an image would never move and its network look unfoolable.
        self._lost |= gradient.amax(dim=(1, 2, 3)).isnan()
        return loss.detach(), gradient

    def note(self, unfit: Tensor) -> None:
        """Add the images (n,) whose gradient an attack cannot use, such as an infinite one that it divides by."""
        self._lost |= unfit

    def require_sound(self) -> None:
        """Raise NotComputableError where a gradient was not a number, or noted to be of no use, at any step."""
        if count := int(self._lost.sum()):
            raise NotComputableError(
                f"the loss has no gradient (it is not a finite number) on {count} of {len(self._lost)} images, "
                "so this network cannot be attacked; look for a square root or a division at zero in it"
            )
