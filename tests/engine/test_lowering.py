"""Folding and faster kernels change no answer: logits and gradients differ by rounding alone."""

from typing import Any

import numpy as np
import pytest
import timm
import torch
from torch import Tensor, nn
from torch.nn import functional

from sat_engine import measure, networks
from sat_engine.folding import fold
from sat_engine.kernels import ConvolvedLinear, StemConv2d, unfuse_attention, use_cpu_kernels

# Of the largest value. Measured: up to 3e-6 over these networks.
NOISE = 2e-5


def trained_statistics(network: nn.Module) -> nn.Module:
    """Give batch norms statistics as training does: with mean 0 and variance 1 folding would be nearly nothing."""
    generator = torch.Generator().manual_seed(1)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor, low, high in (
                (module.running_mean, -0.5, 0.5),
                (module.running_var, 0.3, 3),
                (module.weight.data, 0.5, 1.5),
                (module.bias.data, -0.5, 0.5),
            ):
                tensor.uniform_(low, high, generator=generator)
    return network.eval().requires_grad_(requires_grad=False)


def answers(network: nn.Module, pixels: Tensor) -> tuple[Tensor, Tensor]:
    """Logits, and the gradient of the summed loss to the pixels."""
    pixels = pixels.detach().clone().requires_grad_()
    logits = network(pixels)
    loss = functional.cross_entropy(logits, torch.arange(len(pixels)) % logits.shape[1], reduction="sum")
    return logits.detach(), torch.autograd.grad(loss, pixels)[0]


def far(one: Tensor, other: Tensor) -> float:
    """The largest difference, of the largest value."""
    return float(((one - other).abs().max() / other.abs().max()).detach())


@pytest.mark.parametrize(
    ("architecture", "at_least"),
    [
        ("test_resnet", 10),
        ("test_byobnet", 5),
        ("test_efficientnet", 10),
        ("test_mambaout", 0),
        ("test_vit", 0),
        ("resnet18d", 20),
        ("regnety_002", 40),
        ("mobilenetv3_small_050", 30),
        ("densenet121", 50),
        ("tf_efficientnet_b0", 40),  # same-padded convolutions
        ("resnetv2_18", 0),  # norms before convolutions: hardly anything to fold
        ("coatnet_nano_rw_224", 0),
    ],
)
def test_folding_keeps_logits_and_gradients(architecture: str, at_least: int) -> None:
    fixed = {"img_size": 64} if architecture == "coatnet_nano_rw_224" else {}
    torch.manual_seed(0)  # with other initial weights other relus stand at 0
    network = trained_statistics(timm.create_model(architecture, num_classes=10, **fixed))
    side = 160 if architecture == "test_vit" else 64
    pixels = torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(0))
    logits, gradient = answers(network, pixels)
    assert len(fold(network, pixels)) >= at_least
    folded_logits, folded_gradient = answers(network, pixels)
    assert far(folded_logits, logits) < NOISE
    # a relu that stands at 0 may open or close by rounding, and moves all pixels behind it by a little: densenet121
    # with eight initial weights came to 6e-7 six times, and to 6e-4 and 2e-3 where one did
    assert (folded_gradient - gradient).norm() / gradient.norm() < 0.01


class TwoReaders(nn.Module):
    """A convolution whose output is normalised and also added: folding would change the sum."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)

    def forward(self, pixels: Tensor) -> Tensor:
        """Return logits (n, 4)."""
        convolved = self.convolution(pixels)
        total: Tensor = (self.norm(convolved) + convolved).mean(dim=(2, 3))
        return total


class TwoCalls(nn.Module):
    """One convolution called twice, of which one output is normalised."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution, self.norm = nn.Conv2d(3, 3, 3, padding=1), nn.BatchNorm2d(3)

    def forward(self, pixels: Tensor) -> Tensor:
        """Return logits (n, 3)."""
        total: Tensor = self.norm(self.convolution(self.convolution(pixels))).mean(dim=(2, 3))
        return total


@pytest.mark.parametrize("network", [TwoReaders(), TwoCalls()])
def test_what_is_read_or_called_twice_is_left_alone(network: nn.Module) -> None:
    pixels = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    trained_statistics(network)
    before = network(pixels)
    assert not fold(network, pixels)
    assert torch.equal(network(pixels), before)


class Standardised(nn.Conv2d):
    """A convolution with weights of its own making."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002  # torch's name
        """Return the convolution with the weights brought to variance 1."""
        return functional.conv2d(input, self.weight / self.weight.std(), self.bias)


def test_a_convolution_that_makes_its_own_weights_is_left_alone() -> None:
    network = trained_statistics(nn.Sequential(Standardised(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten()))
    pixels = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    before = network(pixels)
    assert not fold(network, pixels)
    assert torch.equal(network(pixels), before)


@pytest.mark.parametrize(
    ("kernel", "stride", "padding", "side"),
    [(7, 2, 3, 32), (7, 2, 3, 33), (16, 16, 0, 64), (16, 16, 0, 70), (7, 4, 2, 45), (5, 3, 1, 20), (8, 2, 0, 31)],
)
@pytest.mark.parametrize("channels", [1, 3])
def test_a_stem_has_the_gradient_of_its_convolution(
    kernel: int, stride: int, padding: int, side: int, channels: int
) -> None:
    torch.manual_seed(0)
    stem = nn.Conv2d(channels, 8, kernel, stride, padding).requires_grad_(requires_grad=False)
    network = nn.Sequential(stem, nn.Flatten())
    pixels = torch.randn(3, channels, side, side)
    expected = answers(network, pixels)
    use_cpu_kernels(network)
    assert type(network[0]) is StemConv2d
    got = answers(network, pixels)
    assert torch.equal(got[0], expected[0])
    assert got[1].shape == pixels.shape
    assert far(got[1], expected[1]) < NOISE


@pytest.mark.parametrize("shape", [(16, 12), (20, 5, 12), (17, 3, 4, 12), (2, 12), (12,)])
@pytest.mark.parametrize("bias", [True, False])
def test_a_linear_layer_as_a_convolution(shape: tuple[int, ...], *, bias: bool) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(12, 7, bias=bias)).requires_grad_(requires_grad=False)
    rows, weights = torch.randn(shape).requires_grad_(), torch.randn(*shape[:-1], 7)
    expected = network(rows)
    (expected_gradient,) = torch.autograd.grad((expected * weights).sum(), rows)
    use_cpu_kernels(network)
    assert type(network[0]) is ConvolvedLinear
    got = network(rows)
    (gradient,) = torch.autograd.grad((got * weights).sum(), rows)
    assert got.shape == expected.shape
    assert far(got, expected) < NOISE
    assert far(gradient, expected_gradient) < NOISE


@pytest.mark.parametrize("architecture", ["swin_tiny_patch4_window7_224", "convnext_atto", "vit_tiny_patch16_224"])
def test_kernels_keep_the_logits_of_whole_networks(architecture: str) -> None:
    network = timm.create_model(architecture, num_classes=10).eval().requires_grad_(requires_grad=False)
    pixels = torch.randn(1, 3, 224, 224, generator=torch.Generator().manual_seed(0)).expand(16, -1, -1, -1)
    with torch.no_grad():
        before = network(pixels)
        use_cpu_kernels(network)
        assert far(network(pixels), before) < NOISE


def test_no_clean_bit_changes_and_almost_no_fooled_one(zoo: Any, digits: Any, quick: Any, results: Any) -> None:
    bits = flipped = 0
    for name, trained in zoo.items():
        plain = networks.build(trained.spec, trained.tensors, image_channels=1, lowered=False)
        assert "folded" not in plain.numeric_path
        assert "onednn" not in plain.numeric_path
        logits = measure.evaluate(plain, digits.images)
        assert np.array_equal(measure.correct(logits, digits.labels), trained.correct)
        made = measure.attack(plain, digits.images, digits.labels, trained.correct, quick)
        flipped += int((made.fooled != results[name].fooled).sum())
        for target in zoo.values():
            cells = (
                measure.transfer(target.classifier, each.images, each.positions, digits.labels, target.correct)
                for each in (made, results[name])
            )
            flipped += int(np.logical_xor(*cells).sum())
        bits += 4 * len(digits.labels)
    assert flipped <= bits // 1000


def test_attention_without_the_fused_kernel_gives_the_same_answers() -> None:
    torch.manual_seed(0)
    network = timm.create_model("test_vit", num_classes=10).eval().requires_grad_(requires_grad=False)
    pixels = torch.randn(2, 3, 160, 160, generator=torch.Generator().manual_seed(0))
    logits, gradient = answers(network, pixels)
    assert unfuse_attention(network)
    other_logits, other_gradient = answers(network, pixels)
    assert far(other_logits, logits) < NOISE
    assert far(other_gradient, gradient) < NOISE
    assert not unfuse_attention(network)  # nothing is left to do
