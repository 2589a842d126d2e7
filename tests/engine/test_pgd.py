"""The attack stays in its ball, follows the gradient, and admits it where there is none."""

from fractions import Fraction
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from sat_engine.attacks import attack_for
from sat_engine.attacks.pgd import PGD
from sat_engine.classifier import Classifier
from sat_engine.errors import NotComputableError, ProtocolError
from sat_engine.protocol import PRESETS, Protocol


def classifier_of(network: nn.Module, *, side: int = 4, classes: int = 2) -> Classifier:
    """A classifier of one-channel images around a network written here."""
    return Classifier(
        network, input_side=side, image_channels=1, channels=1, mean=(0.0,), std=(1.0,), class_map=range(classes)
    )


@pytest.fixture
def pixels(digits: Any) -> tuple[Tensor, Tensor]:
    """Twenty digits as pixels (20, 1, 32, 32) in [0, 1], black and white ones among them, and their labels."""
    images = torch.from_numpy(digits.images[:20]).permute(0, 3, 1, 2) / 255
    assert images.min() == 0
    assert images.max() == 1
    return images, torch.from_numpy(digits.labels[:20])


@pytest.mark.parametrize("attack", [PGD(), PGD(step_size=0.1), PGD(epsilon=0.03, step_size=0.007, steps=9)])
def test_the_perturbation_stays_in_the_ball_and_in_the_image(attack: PGD, pixels: Any, zoo: Any) -> None:
    images, labels = pixels
    adversarial = attack.perturb(zoo["byobnet"].classifier, images, labels)
    assert (adversarial - images).abs().max() <= attack.epsilon + 1e-6
    assert adversarial.min() >= 0
    assert adversarial.max() <= 1
    assert not adversarial.requires_grad


@pytest.mark.parametrize("name", ["byobnet", "efficientnet"])
def test_the_loss_of_every_image_rises(name: str, pixels: Any, zoo: Any) -> None:
    images, labels = pixels
    model = zoo[name].classifier
    adversarial = PGD(steps=5).perturb(model, images, labels)
    with torch.no_grad():
        before, after = (functional.cross_entropy(model(x), labels, reduction="none") for x in (images, adversarial))
    assert (after > before).all()


def test_one_step_is_the_sign_of_the_gradient_in_float64(pixels: Any, zoo: Any) -> None:
    images, labels = pixels
    model = zoo["efficientnet"].classifier
    moved = PGD(epsilon=1.0, step_size=2 / 255, steps=1).perturb(model, images, labels) - images
    exact = images.double().requires_grad_()
    network = zoo["efficientnet"].classifier.network.double()
    try:
        loss = functional.cross_entropy(network((exact - model.mean.double()) / model.std.double()), labels)
        (gradient,) = torch.autograd.grad(loss, exact)
    finally:
        network.float()
    inside = (images > 0.01) & (images < 0.99) & (gradient.abs() > 1e-4 * gradient.abs().max())
    assert inside.sum() > 1000
    assert torch.allclose(moved[inside], 2 / 255 * gradient.sign()[inside].float(), atol=1e-6)


def test_iterates_of_the_default_stay_on_the_grid_of_bytes(pixels: Any, zoo: Any) -> None:
    levels = 255 * attack_for(PRESETS["pgd"]).perturb(zoo["byobnet"].classifier, *pixels)
    assert (levels - levels.round()).abs().max() < 1e-3


def test_the_paper_s_step_lands_on_corners(pixels: Any, zoo: Any) -> None:
    images, labels = pixels
    adversarial = attack_for(PRESETS["pgd-paper"]).perturb(zoo["byobnet"].classifier, images, labels)
    low, high = (images - 8 / 255).clamp(min=0), (images + 8 / 255).clamp(max=1)
    on_corner = torch.minimum((adversarial - low).abs(), (adversarial - high).abs()) < 1e-6
    assert on_corner.float().mean() > 0.99, "the others have a gradient of exactly zero"


def test_an_image_s_path_does_not_depend_on_its_batch(pixels: Any, zoo: Any) -> None:
    images, labels = pixels
    model = zoo["byobnet"].classifier
    together = PGD(steps=10).perturb(model, images, labels)
    halves = torch.cat(
        [PGD(steps=10).perturb(model, *half) for half in zip(images.split(7), labels.split(7), strict=True)]
    )
    differing = ((255 * together).round() != (255 * halves).round()).flatten(1).any(dim=1)
    assert differing.sum() <= 1, "a mean-reduced loss or batch statistics would move every image"


def test_weights_and_inputs_come_back_untouched(pixels: Any, zoo: Any) -> None:
    images, labels = pixels
    before = images.clone()
    model = zoo["byobnet"].classifier
    PGD(steps=2).perturb(model, images, labels)
    assert torch.equal(images, before)
    assert all(parameter.grad is None for parameter in model.parameters())


class RootOfSquares(nn.Module):
    """|x| written so that its gradient at 0 is 0 · ∞: not a number."""

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (n, 2)."""
        size = (images * images).sqrt().flatten(1)
        return torch.stack([size.sum(dim=1), size.mean(dim=1)], dim=1)


def test_a_gradient_that_is_no_number_is_an_error_and_not_an_image() -> None:
    images = torch.full((3, 1, 4, 4), 0.5)
    images[1, 0, 2, 2] = 0
    labels = torch.zeros(3, dtype=torch.int64)
    with pytest.raises(NotComputableError, match=r"no gradient .* on 1 of 3 images"):
        PGD(steps=3).perturb(classifier_of(RootOfSquares()), images, labels)
    PGD(steps=3, epsilon=0.1).perturb(classifier_of(RootOfSquares()), images[::2], labels[::2])


def test_a_protocol_of_another_engine_is_not_run() -> None:
    protocol = Protocol(attack="pgd", epsilon=Fraction(0), step_size=Fraction(1), steps=1)
    object.__setattr__(protocol, "engine_revision", 0)  # as an older engine will have stored it
    with pytest.raises(ProtocolError, match="engine revision 0"):
        attack_for(protocol)
