"""The attacks against other people's code, where that is installed (benchmarks/requirements.txt)."""

import warnings
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from sat_engine.attack_kinds import Attack
from sat_engine.attacks import attack_for
from sat_engine.attacks.apgd import APGD
from sat_engine.attacks.draws import Draws
from sat_engine.classifier import Classifier
from sat_engine.protocol import Protocol

N, STEPS = 40, 6
EPSILON, STEP = Fraction(16, 255), Fraction(4, 255)


def peer(name: str) -> Any:
    """The peer's package; it may warn when it is loaded."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip(name)


@pytest.fixture(params=["byobnet", "efficientnet"])
def model(request: pytest.FixtureRequest, zoo: Any) -> Classifier:
    """Two networks of one input size."""
    return zoo[request.param].classifier


@pytest.fixture
def pixels(digits: Any) -> tuple[Tensor, Tensor]:
    """Forty digits in [0, 1] and their labels."""
    return torch.from_numpy(digits.images[:N]).permute(0, 3, 1, 2) / 255, torch.from_numpy(digits.labels[:N])


def assert_alike(model: Classifier, ours: Tensor, theirs: Tensor, labels: Tensor) -> None:
    """The two fool the same images, and differ in few pixels: where float noise turns a sign."""
    with torch.no_grad():
        fooled = [model(each).argmax(dim=1) != labels for each in (ours, theirs)]
    assert (fooled[0] != fooled[1]).sum() <= 1
    assert fooled[0].any()
    assert ((ours - theirs).abs() > 1e-4).float().mean() < 0.02


def ours(attack: Attack, model: Classifier, pixels: tuple[Tensor, Tensor], **options: Fraction) -> Tensor:
    """What our attack makes of the images."""
    protocol = Protocol(attack=attack, epsilon=EPSILON, step_size=STEP, steps=STEPS, options=options)
    return attack_for(protocol, np.arange(N)).perturb(model, *pixels)


def test_mi_fgsm_is_torchattack_s(model: Classifier, pixels: Any) -> None:
    theirs = peer("torchattack").MIFGSM(
        model, device=torch.device("cpu"), eps=float(EPSILON), steps=STEPS, alpha=float(STEP), decay=1.0
    )
    assert_alike(model, ours(Attack.MI_FGSM, model, pixels), theirs(*pixels).detach(), pixels[1])


def test_vmi_fgsm_is_torchattack_s_with_the_same_neighbours(
    model: Classifier, pixels: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    draws, drawn = Draws(0, np.arange(N)), iter(range(3 * STEPS))

    def uniform(noise: Tensor, _low: float, high: float) -> Tensor:
        return high * draws.uniform(noise, next(drawn))

    theirs = peer("torchattack").VMIFGSM(
        model, device=torch.device("cpu"), eps=float(EPSILON), steps=STEPS, alpha=float(STEP), n=3, beta=1.5
    )
    monkeypatch.setattr(torch.Tensor, "uniform_", uniform)
    made = theirs(*pixels).detach()
    assert next(drawn, None) is None
    assert_alike(model, ours(Attack.VMI_FGSM, model, pixels, neighbours=Fraction(3)), made, pixels[1])


def test_apgd_is_torchattacks_from_the_same_start(model: Classifier, pixels: Any) -> None:
    theirs = peer("torchattacks").APGD(model, eps=float(EPSILON), steps=20)
    torch.manual_seed(3)
    best, *_ = theirs.attack_single_run(*pixels)
    torch.manual_seed(3)
    drawn = 2 * torch.rand(pixels[0].shape) - 1
    start = pixels[0] + float(EPSILON) * drawn / drawn.abs().amax(dim=(1, 2, 3), keepdim=True)
    attack = APGD(epsilon=float(EPSILON), step_size=2 * float(EPSILON), steps=20, draws=None)
    assert_alike(model, attack.climb(model, *pixels, start.clamp(0, 1)), best.detach(), pixels[1])
