"""The attacks against other people's code: `make test-peers`, or where benchmarks/requirements.txt is installed."""

import os
import warnings
from fractions import Fraction
from importlib import import_module
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from sat_engine import measure, networks
from sat_engine.attack_kinds import Attack
from sat_engine.attacks import attack_for
from sat_engine.attacks.apgd import APGD
from sat_engine.attacks.draws import Draws
from sat_engine.classifier import Classifier
from sat_engine.geometry import resize
from sat_engine.protocol import Protocol

N, STEPS = 40, 6
EPSILON, STEP = Fraction(16, 255), Fraction(4, 255)


def peer(name: str) -> Any:
    """The peer's package; it may warn when it is loaded. `make test-peers` fails where it is missing."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return import_module(name) if os.environ.get("SAT_TEST_PEERS") else pytest.importorskip(name)


@pytest.fixture(params=["byobnet", "efficientnet"])
def model(request: pytest.FixtureRequest, zoo: Any) -> Classifier:
    """Two networks of one input size."""
    return zoo[request.param].classifier


@pytest.fixture
def pixels(digits: Any) -> tuple[Tensor, Tensor]:
    """Forty digits in [0, 1] and their labels."""
    return torch.from_numpy(digits.images[:N]).permute(0, 3, 1, 2) / 255, torch.from_numpy(digits.labels[:N])


@pytest.fixture
def attacked(quick: Protocol, results: Any) -> tuple[Protocol, Any]:
    """A protocol by which images transfer, and the zoo's networks attacked with it."""
    return quick, results


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


class Plain(nn.Module):
    """A network as timm makes it, behind a normalisation: what a user of the peers would attack."""

    def __init__(self, trained: Any) -> None:
        super().__init__()
        spec = trained.spec
        self.network = networks.create_module(spec.architecture, spec.model_args, spec.input_side, spec.channels)
        self.network.load_state_dict(dict(trained.tensors))
        self.mean, self.std = spec.mean[0], spec.std[0]
        self.eval().requires_grad_(requires_grad=False)

    def forward(self, pixels: Tensor) -> Tensor:
        """Return logits (n, classes)."""
        return self.network((pixels - self.mean) / self.std)


def their_pgd(name: str, network: nn.Module, pixels: tuple[Tensor, Tensor], protocol: Protocol) -> Tensor:
    """What a peer's PGD makes of the images (n, c, s, s), by the protocol's numbers and from the image itself."""
    package, epsilon, step = peer(name), float(protocol.epsilon), float(protocol.step_size)
    match name:
        case "torchattacks":
            attack = package.PGD(network, eps=epsilon, alpha=step, steps=protocol.steps, random_start=False)
        case "torchattack":
            attack = package.PGD(
                network, None, torch.device("cpu"), epsilon, protocol.steps, alpha=step, random_start=False
            )
        case _:
            bounded = package.PyTorchModel(network, bounds=(0, 1), device="cpu")
            theirs = package.attacks.LinfPGD(abs_stepsize=step, steps=protocol.steps, random_start=False)
            return theirs.run(bounded, *pixels, epsilon=epsilon)
    return attack(*pixels).detach()


# The radius at which a network's own images fool it on 50 to 95 %: there a slightly other attack would fool others.
CLOSE = {"byobnet": 4, "efficientnet": 4, "nfnet": 7}


@pytest.mark.parametrize("source", CLOSE)
@pytest.mark.parametrize("name", ["torchattacks", "torchattack", "foolbox"])
class TestPGD:
    """Ours on the network as a worker builds it, theirs on the same network as timm builds it; both stored as bytes.

    Float noise turns few signs: at most 0.2 % of the bytes differ, and one of 230 images is fooled otherwise. Measured:
    0.06 % and none, over nine pairs of a peer and a network.
    """

    def test_it_fools_its_source_on_the_same_images(self, name: str, source: str, zoo: Any, digits: Any) -> None:
        protocol = Protocol(attack="pgd", epsilon=Fraction(CLOSE[source], 255), step_size=Fraction(1, 255), steps=10)
        trained = zoo[source]
        made = measure.attack(trained.classifier, digits.images, digits.labels, trained.correct, protocol)
        assert 0.5 < made.fooled[trained.correct].mean() < 0.95
        theirs = stored(name, trained, made, digits, protocol)
        fooled = measure.transfer(trained.classifier, theirs, made.positions, digits.labels, trained.correct)
        assert (fooled != made.fooled).sum() <= 1

    def test_its_images_transfer_alike(
        self, name: str, source: str, zoo: Any, digits: Any, attacked: tuple[Protocol, Any]
    ) -> None:
        quick, results = attacked
        trained, made = zoo[source], results[source]
        theirs = stored(name, trained, made, digits, quick)
        for target in zoo.values():  # of the same input size and of another
            common = trained.correct & target.correct
            ours, as_theirs = (
                measure.transfer(target.classifier, images, made.positions, digits.labels, common)
                for images in (made.images, theirs)
            )
            assert ours.any()
            assert (ours != as_theirs).sum() <= 1


def stored(name: str, trained: Any, made: measure.AttackResult, digits: Any, protocol: Protocol) -> measure.Images:
    """Return the peer's images as bytes (m, s, s, c), at most 0.2 % of which differ from ours."""
    clean = resize(digits.images[made.positions], trained.spec.input_side)
    pixels = torch.from_numpy(clean).permute(0, 3, 1, 2) / 255, torch.from_numpy(digits.labels[made.positions])
    theirs = (255 * their_pgd(name, Plain(trained), pixels, protocol)).round()
    images = theirs.to(torch.uint8).permute(0, 2, 3, 1).numpy()
    assert (images != made.images).mean() <= 0.002
    return images
