"""What every attack must do, from one table of attacks with what sets each apart."""

import warnings
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from sat_engine import geometry, measure, networks
from sat_engine.attack_kinds import KINDS, Attack, Randomness
from sat_engine.attacks import attack_for
from sat_engine.attacks.draws import Draws
from sat_engine.attacks.low_frequency import low_pass
from sat_engine.batching import Batch
from sat_engine.classifier import Classifier
from sat_engine.errors import NotComputableError, ProtocolError
from sat_engine.protocol import Protocol
from sat_engine.scores import count_pair, score
from tests.engine.conftest import Digits, Trained, _fit, _spec_of

EPSILON = Fraction(16, 255)
N = 2 * measure.BATCH + 10
QUICK = {
    Attack.PGD: {"steps": 6, "step_size": Fraction(4, 255)},
    Attack.MI_FGSM: {"steps": 6, "step_size": Fraction(4, 255)},
    Attack.VMI_FGSM: {"steps": 4, "step_size": Fraction(4, 255), "options": {"neighbours": Fraction(3)}},
    Attack.LOW_FREQUENCY_PGD: {"steps": 6, "step_size": Fraction(4, 255)},
    Attack.APGD: {"steps": 10, "step_size": Fraction(32, 255), "start": "random"},
    Attack.PATCH_FOOL: {"steps": 12, "step_size": Fraction(1, 10), "start": "random", "epsilon": Fraction(1)},
}
AVAILABLE = [attack for attack, kind in KINDS.items() if kind.unavailable is None]
# of Draws(7, position 3), sixteenth bits: whoever changes them changes the numbers of every random attack
FIRST_DRAWN = [33767, -63759, -26695, -56683, -6309, -47193]
every_attack = pytest.mark.parametrize("attack", AVAILABLE)


@dataclass(frozen=True)
class Case:
    """A network with the images that it is attacked on, and its clean bits."""

    classifier: Classifier
    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    correct: NDArray[np.bool_]

    def attack(self, protocol: Protocol, **options: Any) -> measure.AttackResult:
        """The network attacked on all of its images."""
        return measure.attack(self.classifier, self.images, self.labels, self.correct, protocol, **options)


def protocol_of(attack: Attack, **changes: Any) -> Protocol:
    """A quick protocol of this attack."""
    return Protocol(**{"attack": attack, "epsilon": EPSILON} | QUICK[attack] | changes)


def case_of(classifier: Classifier, digits: Digits, n: int = N) -> Case:
    """The network on the first n digits."""
    images, labels = digits.images[:n], digits.labels[:n]
    return Case(classifier, images, labels, measure.correct(measure.evaluate(classifier, images), labels))


@pytest.fixture(scope="module")
def transformer(digits: Digits) -> Classifier:
    """A small vision transformer that has learnt some digits."""
    spec = _spec_of("test_vit", img_size=32, patch_size=8, global_pool="avg")
    module = networks.create_module(spec.architecture, spec.model_args, spec.input_side, spec.channels)
    _fit(module, geometry.resize(digits.train_images, 32), digits.train_labels, epochs=8)
    return networks.build(spec, module.state_dict(), image_channels=1)


@pytest.fixture(scope="module")
def cases(zoo: dict[str, Trained], transformer: Classifier, digits: Digits) -> dict[Attack, Case]:
    """For each attack a network that it can attack."""
    plain, patches = case_of(zoo["byobnet"].classifier, digits), case_of(transformer, digits, measure.BATCH + 10)
    assert patches.correct.mean() > 0.6
    return {attack: patches if KINDS[attack].needs_patches else plain for attack in AVAILABLE}


@pytest.fixture(scope="module")
def made(cases: dict[Attack, Case]) -> dict[Attack, measure.AttackResult]:
    """Every attack once."""
    return {attack: cases[attack].attack(protocol_of(attack)) for attack in AVAILABLE}


def floats_of(case: Case, protocol: Protocol, n: int = 10) -> tuple[torch.Tensor, torch.Tensor]:
    """The first n images as pixels, and what the attack makes of them before rounding."""
    pixels = torch.from_numpy(case.images[:n]).permute(0, 3, 1, 2).float() / 255
    labels = torch.from_numpy(case.labels[:n])
    return pixels, attack_for(protocol, np.arange(n)).perturb(case.classifier, pixels, labels)


@every_attack
def test_images_stay_in_the_ball_and_in_the_range(attack: Attack, cases: Any) -> None:
    protocol = protocol_of(attack)
    pixels, moved = floats_of(cases[attack], protocol)
    assert moved.dtype == torch.float32
    assert not moved.requires_grad
    assert (moved - pixels).abs().max() <= float(protocol.epsilon) + 1e-6
    assert (moved.min(), moved.max()) >= (0, 0)
    assert moved.max() <= 1
    assert (moved != pixels).any()


@every_attack
def test_a_ball_without_radius_changes_nothing(attack: Attack, cases: Any) -> None:
    pixels, moved = floats_of(cases[attack], protocol_of(attack, epsilon=Fraction(0)))
    assert torch.equal(moved, pixels)


@every_attack
def test_the_same_again_gives_the_same_bits(attack: Attack, cases: Any, made: Any) -> None:
    torch.manual_seed(7)
    before = torch.get_rng_state()
    again = cases[attack].attack(protocol_of(attack))
    np.testing.assert_array_equal(again.images, made[attack].images)
    assert torch.equal(torch.get_rng_state(), before), "nobody else's random numbers are used up"


@every_attack
def test_chunks_in_any_order_give_the_same_bits(attack: Attack, cases: Any, made: Any) -> None:
    case, batch = cases[attack], measure.BATCH
    last = Case(case.classifier, case.images[batch:], case.labels[batch:], case.correct[batch:])
    alone = last.attack(protocol_of(attack), positions_from=batch)
    of_last = made[attack].positions >= batch
    np.testing.assert_array_equal(alone.images, made[attack].images[of_last])
    np.testing.assert_array_equal(alone.fooled, made[attack].fooled[batch:])


@every_attack
def test_its_source_is_fooled_more_often_than_by_noise_on_the_same_pixels(
    attack: Attack, cases: Any, made: Any
) -> None:
    case, result, levels = cases[attack], made[attack], int(255 * protocol_of(attack).epsilon)
    clean = case.images[result.positions].astype(np.int16)
    signs = np.random.default_rng(0).choice([-levels, levels], clean.shape)
    corners = np.where(result.images != clean, np.clip(clean + signs, 0, 255), clean).astype(np.uint8)
    by_noise = ~measure.correct(measure.evaluate(case.classifier, corners), case.labels[result.positions])
    assert result.fooled[result.positions].mean() > by_noise.mean() + 0.15
    assert result.fooled.any(), "or the law says nothing"


@every_attack
def test_only_a_random_attack_depends_on_the_seed_and_the_position(attack: Attack, cases: Any, made: Any) -> None:
    random = KINDS[attack].randomness is not Randomness.NONE
    case = cases[attack]
    few = Case(case.classifier, case.images[:20], case.labels[:20], case.correct[:20])
    n = int(few.correct.sum())
    for other in (few.attack(protocol_of(attack, seed=1)), few.attack(protocol_of(attack), positions_from=1)):
        assert (other.images != made[attack].images[:n]).any() == random


@every_attack
def test_an_image_does_not_depend_on_the_others_of_its_batch(attack: Attack, cases: Any, made: Any) -> None:
    case = cases[attack]
    one = Case(case.classifier, case.images, case.labels, case.correct & (np.arange(len(case.correct)) < 24))
    alone = one.attack(protocol_of(attack))
    m = len(alone.positions)
    differing = (alone.images != made[attack].images[:m]).any(axis=(1, 2, 3)).sum()
    assert differing <= 3, "another batch rounds otherwise now and then; a mean over the batch would move every image"


def test_another_batch_flips_almost_no_fooled_bit(
    cases: Any, made: Any, zoo: dict[str, Trained], digits: Digits, monkeypatch: pytest.MonkeyPatch
) -> None:
    flipped = bits = fooled = 0
    for attack in AVAILABLE:
        case, before = cases[attack], made[attack]
        with monkeypatch.context() as patched:
            patched.setattr(case.classifier, "_batch", Batch.of(23))
            after = case.attack(protocol_of(attack))
        target = zoo["efficientnet"]
        common = case.correct & target.correct[: len(case.correct)]
        onto = [
            measure.transfer(target.classifier, one.images, one.positions, case.labels, common)
            for one in (before, after)
        ]
        for one, other, of in ((before.fooled, after.fooled, case.correct), (*onto, common)):
            flipped += int((one != other).sum())
            fooled += int(one.sum())
            bits += int(of.sum())
    # what docs/sat.md promises, over all attacks
    assert flipped <= bits / 1000, f"{flipped} of {bits}"
    assert 200 < fooled < bits - 200, "bits that are all alike would prove little"


@pytest.mark.parametrize("attack", [attack for attack in AVAILABLE if KINDS[attack].on_grid])
def test_an_attack_said_to_be_on_the_grid_needs_no_rounding(attack: Attack, cases: Any) -> None:
    _, moved = floats_of(cases[attack], protocol_of(attack, epsilon=Fraction(8, 255), step_size=Fraction(2, 255)))
    assert (255 * moved - (255 * moved).round()).abs().max() < 1e-3


@pytest.mark.parametrize("attack", [attack for attack in AVAILABLE if not KINDS[attack].needs_patches])
def test_colour_images_and_masked_outputs(attack: Attack) -> None:
    spec = replace(_spec_of("test_resnet", channels=3), class_map=(7, 2, 4))
    module = networks.create_module(spec.architecture, spec.model_args, spec.input_side, spec.channels)
    classifier = networks.build(spec, module.state_dict(), image_channels=3)
    images = np.random.default_rng(0).integers(0, 256, (5, 32, 32, 3), np.uint8)
    labels = measure.evaluate(classifier, images).argmax(axis=1)
    result = measure.attack(classifier, images, labels, np.ones(5, np.bool_), protocol_of(attack))
    assert np.abs(result.images.astype(int) - images).max() <= 16
    logits = measure.evaluate(classifier, result.images)
    assert logits.shape == (5, 3)
    np.testing.assert_array_equal(result.fooled, logits.argmax(axis=1) != labels)


class Constant(nn.Module):
    """Logits that do not depend on the image."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return logits (n, 2), 0 with a gradient of 0."""
        return torch.stack([images.flatten(1).sum(dim=1) * 0, images.flatten(1).sum(dim=1) * 0], dim=1)


class Broken(nn.Module):
    """A gradient of 0 · ∞ at 0."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return logits (n, 2)."""
        size = (images * images).sqrt().flatten(1)
        return torch.stack([size.sum(dim=1), size.mean(dim=1)], dim=1)


def bare(network: nn.Module) -> Classifier:
    """A classifier of one-channel images around a network written here."""
    return Classifier(network, input_side=8, image_channels=1, channels=1, mean=(0.0,), std=(1.0,), class_map=range(2))


@pytest.mark.parametrize("attack", [Attack.PGD, Attack.MI_FGSM, Attack.VMI_FGSM, Attack.LOW_FREQUENCY_PGD])
def test_without_a_gradient_nothing_moves(attack: Attack) -> None:
    pixels = torch.full((2, 1, 8, 8), 0.5)
    moved = attack_for(protocol_of(attack), np.arange(2)).perturb(bare(Constant()), pixels, torch.zeros(2, dtype=int))
    assert torch.equal(moved, pixels)


class Patches(nn.Module):
    """A transformer's patches and attention of timm's kind, and a head given by the test."""

    def __init__(self, head: nn.Module) -> None:
        super().__init__()
        self.head = head
        module = networks.create_module(
            "test_vit", {"num_classes": 2, "img_size": 8, "patch_size": 4, "global_pool": "avg"}, 8, 1
        )
        self.blocks, self.patch_embed, self.num_prefix_tokens = (
            module.blocks,
            module.patch_embed,
            module.num_prefix_tokens,
        )
        self.whole = module

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the head's logits; the transformer attends, and has no say."""
        return self.head(images) + 0 * self.whole(images)


def network_for(attack: Attack, head: nn.Module) -> Classifier:
    """The network around which each attack's degenerate cases are built: Patch-Fool wants attention beside it."""
    return bare(Patches(head) if KINDS[attack].needs_patches else head)


@every_attack
def test_constant_logits_are_measured_and_fool_nobody(attack: Attack) -> None:
    classifier = network_for(attack, Constant())
    images = np.random.default_rng(0).integers(0, 256, (6, 8, 8, 1), np.uint8)
    labels = np.array([0, 1, 0, 1, 0, 0])
    correct = measure.correct(measure.evaluate(classifier, images), labels)
    assert correct.tolist() == (labels == 0).tolist(), "the first of equal logits counts"
    result = measure.attack(classifier, images, labels, correct, protocol_of(attack))
    assert result.images.shape == (4, 8, 8, 1)
    assert not result.fooled.any()
    fooled = measure.transfer(classifier, result.images, result.positions, labels, correct)
    found = score(count_pair(correct, correct, fooled, fooled))
    assert (found.n, found.percent, found.at_floor) == (4, 0.0, True)


@every_attack
def test_a_network_that_is_never_right_is_attacked_nowhere(attack: Attack) -> None:
    classifier = network_for(attack, Constant())
    images, labels = np.zeros((3, 8, 8, 1), np.uint8), np.ones(3, np.int64)
    correct = measure.correct(measure.evaluate(classifier, images), labels)
    result = measure.attack(classifier, images, labels, correct, protocol_of(attack))
    assert (len(result.images), result.fooled.any(), result.noise_fooled.any()) == (0, False, False)
    with pytest.raises(NotComputableError, match="no image is classified correctly by both"):
        score(count_pair(correct, correct, result.fooled, result.fooled))


class Steep(nn.Module):
    """Finite logits with an infinite gradient where an image is black: that of a square root at 0."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return logits (n, 2)."""
        size = images.sqrt().flatten(1).mean(dim=1)
        return torch.stack([size, -size], dim=1)


@pytest.mark.parametrize("attack", [Attack.MI_FGSM, Attack.VMI_FGSM, Attack.LOW_FREQUENCY_PGD, Attack.PATCH_FOOL])
def test_an_infinite_gradient_is_an_error_where_an_attack_would_make_nan_of_it(attack: Attack) -> None:
    pixels = torch.full((3, 1, 8, 8), 0.5)
    pixels[1] = 0
    # no ball around it, so that it stays black
    protocol = protocol_of(attack, epsilon=Fraction(0))
    with pytest.raises(NotComputableError, match="not a finite number\\) on 1 of 3 images"):
        attack_for(protocol, np.arange(3)).perturb(network_for(attack, Steep()), pixels, torch.zeros(3, dtype=int))


def test_signs_of_an_infinite_gradient_are_steps_like_others() -> None:
    pixels = torch.full((2, 1, 8, 8), 0.5)
    pixels[1, 0, 0, 0] = 0
    protocol = protocol_of(Attack.PGD)
    moved = attack_for(protocol).perturb(bare(Steep()), pixels, torch.ones(2, dtype=int))
    assert moved.isfinite().all()
    assert moved[1, 0, 0, 0] > 0


@every_attack
def test_a_gradient_that_is_no_number_is_an_error(attack: Attack) -> None:
    pixels = torch.zeros(3, 1, 8, 8)
    pixels[:2] = 0.5
    protocol = protocol_of(attack, epsilon=Fraction(1, 255), step_size=Fraction(1, 255))
    if attack is Attack.APGD:
        protocol = replace(protocol, start="image")
    if attack is Attack.PATCH_FOOL:
        protocol = replace(protocol, epsilon=Fraction(0))  # its start is random within the ball
    with pytest.raises(NotComputableError, match="no gradient"):
        attack_for(protocol, np.arange(3)).perturb(network_for(attack, Broken()), pixels, torch.zeros(3, dtype=int))


def test_random_numbers_are_an_image_s_own_whatever_the_version() -> None:
    drawn = Draws(7, np.array([3, 70_000])).uniform(torch.empty(2, 1, 2, 3), 5)
    again = Draws(7, np.array([70_000])).uniform(torch.empty(1, 1, 2, 3), 5)
    assert torch.equal(drawn[1:], again)
    assert (drawn[0] * 2**16).flatten().tolist() == FIRST_DRAWN
    assert not torch.equal(drawn, Draws(7, np.array([3, 70_000])).uniform(torch.empty(2, 1, 2, 3), 6))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("attack", [attack for attack in AVAILABLE if not KINDS[attack].needs_patches])
def test_no_step_waits_for_a_gpu(attack: Attack) -> None:
    classifier = bare(nn.Sequential(nn.Flatten(), nn.Linear(64, 2))).to("cuda")
    pixels, labels = torch.full((3, 1, 8, 8), 0.5, device="cuda"), torch.zeros(3, dtype=int, device="cuda")

    def waits(steps: int) -> int:
        with warnings.catch_warnings(record=True) as heard:
            warnings.simplefilter("always")
            torch.cuda.set_sync_debug_mode("warn")
            try:
                attack_for(protocol_of(attack, steps=steps), np.arange(3)).perturb(classifier, pixels, labels)
            finally:
                torch.cuda.set_sync_debug_mode("default")
        return len(heard)

    waits(1)
    assert waits(6) == waits(2)


def test_what_cannot_be_had_says_why() -> None:
    assert KINDS[Attack.BIA].unavailable
    with pytest.raises(ProtocolError, match=r"bia is not available: .*generator"):
        Protocol(attack=Attack.BIA, epsilon=EPSILON, step_size=EPSILON, steps=1)


def test_a_network_without_patches_is_refused_by_patch_fool(zoo: dict[str, Trained], digits: Digits) -> None:
    with pytest.raises(NotComputableError, match="vision transformers"):
        case_of(zoo["byobnet"].classifier, digits, 5).attack(protocol_of(Attack.PATCH_FOOL))


def test_patch_fool_changes_whole_patches_and_leaves_the_network_as_it_was(
    cases: Any, made: Any, transformer: Classifier
) -> None:
    case, result = cases[Attack.PATCH_FOOL], made[Attack.PATCH_FOOL]
    changed = (result.images != case.images[result.positions])[..., 0].reshape(-1, 4, 8, 4, 8).any(axis=(2, 4))
    assert changed.sum(axis=(1, 2)).max() == 1, "one patch an image"
    assert all(block.attn.fused_attn for block in transformer.network.blocks)
    assert not any(block.attn.attn_drop._forward_hooks for block in transformer.network.blocks)


def test_low_frequencies_are_those_of_the_cosine_transform(cases: Any, made: Any, digits: Digits) -> None:
    from scipy.fft import dctn, idctn

    field = np.random.default_rng(0).normal(size=(12, 12))
    spectrum = dctn(field, norm="ortho")
    spectrum[3:], spectrum[:, 3:] = 0, 0
    keep = low_pass(12, 0.25).double().numpy()
    np.testing.assert_allclose(keep @ field @ keep, idctn(spectrum, norm="ortho"), atol=1e-6)
    np.testing.assert_allclose(low_pass(9, 1.0), np.eye(9), atol=1e-6)

    def low_share(attack: Attack) -> float:
        result, case = made[attack], cases[attack]
        moved = dctn((result.images - case.images[result.positions].astype(float))[..., 0], axes=(1, 2), norm="ortho")
        return float((moved[:, :16, :16] ** 2).sum() / (moved**2).sum())

    assert low_share(Attack.LOW_FREQUENCY_PGD) > 0.75
    assert low_share(Attack.LOW_FREQUENCY_PGD) > low_share(Attack.PGD) + 0.15


def test_momentum_0_is_pgd_and_neighbours_without_a_distance_change_nothing(cases: Any) -> None:
    pgd, plain = cases[Attack.PGD], protocol_of(Attack.PGD)
    without = protocol_of(Attack.MI_FGSM, options={"momentum": Fraction(0)})
    assert torch.equal(floats_of(pgd, plain)[1], floats_of(pgd, without)[1])
    tuned = protocol_of(Attack.VMI_FGSM, options={"neighbours": Fraction(1), "neighbourhood": Fraction(0)})
    momentum = protocol_of(Attack.MI_FGSM, steps=tuned.steps)
    assert torch.equal(floats_of(pgd, tuned)[1], floats_of(pgd, momentum)[1])


@pytest.mark.parametrize("levels", [8, 16])
def test_apgd_reaches_a_higher_loss_than_pgd_with_as_many_gradients(levels: int, cases: Any) -> None:
    case, losses, epsilon = cases[Attack.APGD], {}, Fraction(levels, 255)
    for protocol in (
        protocol_of(Attack.PGD, steps=21, epsilon=epsilon, step_size=epsilon / 4),
        protocol_of(Attack.APGD, steps=20, epsilon=epsilon, step_size=2 * epsilon),
    ):
        assert protocol.gradients == 21
        _, moved = floats_of(case, protocol, n=60)
        with torch.no_grad():
            logits = case.classifier(moved)
        labels = torch.from_numpy(case.labels[:60])
        losses[protocol.attack] = nn.functional.cross_entropy(logits, labels).item()
    assert losses[Attack.APGD] > losses[Attack.PGD]
