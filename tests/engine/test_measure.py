"""What is measured is measured on stored bytes, and neither order, restart nor batch changes it."""

from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from sat_engine import measure, networks, noise
from sat_engine.batching import Batch
from sat_engine.classifier import Classifier
from sat_engine.errors import NotComputableError
from sat_engine.geometry import resize
from sat_engine.protocol import Protocol


def transferred(source: str, target: str, results: Any, zoo: Any, digits: Any) -> np.ndarray:
    """The bits of one cell."""
    common = zoo[source].correct & zoo[target].correct
    result = results[source]
    return measure.transfer(zoo[target].classifier, result.images, result.positions, digits.labels, common)


def equal(one: measure.AttackResult, other: measure.AttackResult) -> bool:
    """Whether two results hold the same bits."""
    names = ("images", "positions", "fooled", "noise_fooled")
    return all(np.array_equal(getattr(one, name), getattr(other, name)) for name in names)


# --- what an attack returns


@pytest.mark.parametrize("name", ["byobnet", "efficientnet", "nfnet"])
def test_only_correct_images_are_attacked_and_stay_in_the_ball(name: str, results: Any, zoo: Any, digits: Any) -> None:
    result, trained = results[name], zoo[name]
    assert result.images.dtype == np.uint8
    assert result.positions.dtype == np.int32
    assert result.positions.tolist() == np.flatnonzero(trained.correct).tolist()
    clean = resize(digits.images, trained.spec.input_side)[result.positions]
    moved = np.abs(result.images.astype(int) - clean)
    assert moved.max() == 40
    assert not result.fooled[~trained.correct].any()
    assert not result.noise_fooled[~trained.correct].any()
    assert result.fooled.sum() > 0.9 * trained.correct.sum()


def test_bytes_are_rounded_and_never_truncated(results: Any, zoo: Any, digits: Any) -> None:
    # steps of 10 levels in a ball of 40: a pixel that no edge of 0 … 255 can stop moves by a multiple of 10
    for name, result in results.items():
        clean = resize(digits.images, zoo[name].spec.input_side)[result.positions].astype(int)
        free = (clean >= 40) & (clean <= 215)
        assert free.sum() > 1000
        assert not ((result.images - clean)[free] % 10).any()


def test_an_epsilon_between_two_levels_stays_below_it(zoo: Any, digits: Any) -> None:
    # 255 · 0.0299 = 7.62: rounding alone would store a perturbation of 8 levels
    protocol = Protocol(attack="pgd", epsilon=Fraction("0.0299"), step_size=Fraction("0.01"), steps=4)
    everything = np.ones(64, np.bool_)
    result = measure.attack(zoo["byobnet"].classifier, digits.images[:64], digits.labels[:64], everything, protocol)
    assert np.abs(result.images.astype(int) - digits.images[:64]).max() == 7


def test_rates_are_those_of_the_stored_bytes(results: Any, zoo: Any, digits: Any) -> None:
    for name, result in results.items():
        classifier, labels = zoo[name].classifier, digits.labels[result.positions]
        again = ~measure.correct(measure.evaluate(classifier, result.images), labels)
        assert np.array_equal(result.fooled[result.positions], again)
        clean = resize(digits.images, classifier.input_side)[result.positions]
        corners = noise.corners(clean, result.positions, epsilon=Fraction(40, 255), seed=0)
        assert np.array_equal(
            result.noise_fooled[result.positions], ~measure.correct(measure.evaluate(classifier, corners), labels)
        )


def test_self_fooling_is_the_transfer_onto_oneself(results: Any, zoo: Any, digits: Any) -> None:
    for name in zoo:
        assert np.array_equal(transferred(name, name, results, zoo, digits), results[name].fooled)


def test_the_zoo_tells_transfers_apart(results: Any, zoo: Any, digits: Any) -> None:
    counts = {(a, b): int(transferred(a, b, results, zoo, digits).sum()) for a in zoo for b in zoo if a != b}
    assert len(set(counts.values())) > 1, f"the tests below would prove nothing: {counts}"
    assert any(counts.values())


# --- the laws


def test_no_epsilon_fools_nobody_at_equal_sizes_and_exactly_the_floor_otherwise(zoo: Any, digits: Any) -> None:
    protocol = Protocol(attack="pgd", epsilon=Fraction(0), step_size=Fraction(2, 255), steps=3)
    floors = 0
    for source in zoo.values():
        result = measure.attack(source.classifier, digits.images, digits.labels, source.correct, protocol)
        side = source.spec.input_side
        assert np.array_equal(result.images, resize(digits.images, side)[result.positions])
        assert not result.fooled.any()
        assert not result.noise_fooled.any()
        for target in zoo.values():
            common = source.correct & target.correct
            fooled = measure.transfer(target.classifier, result.images, result.positions, digits.labels, common)
            floor = measure.floor(target.classifier, digits.images, digits.labels, common, source_side=side)
            assert np.array_equal(fooled, floor)
            # the set's side is 32, so a clean image passes through a 32 px source unchanged
            assert not fooled.any() or side != target.spec.input_side
            floors += int(fooled.sum())
    assert floors > 0, "resizing should cost somebody an image, or this test proves nothing"


def test_chunks_in_any_order_and_after_a_restart_give_equal_bits(
    zoo: Any, digits: Any, quick: Any, results: Any
) -> None:
    trained = zoo["byobnet"]
    rebuilt = networks.build(trained.spec, trained.tensors, image_channels=1)
    parts = {}
    for start in reversed(range(0, len(digits.images), measure.BATCH)):
        here = slice(start, start + measure.BATCH)
        parts[start] = measure.attack(
            rebuilt, digits.images[here], digits.labels[here], trained.correct[here], quick, positions_from=start
        )
    joined = measure.AttackResult(
        images=np.concatenate([parts[start].images for start in sorted(parts)]),
        positions=np.concatenate([parts[start].positions + np.int32(start) for start in sorted(parts)]),
        fooled=np.concatenate([parts[start].fooled for start in sorted(parts)]),
        noise_fooled=np.concatenate([parts[start].noise_fooled for start in sorted(parts)]),
    )
    assert equal(joined, results["byobnet"])


def test_another_batch_flips_no_clean_bit_and_almost_no_fooled_one(
    zoo: Any, digits: Any, quick: Any, results: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {(a, b): transferred(a, b, results, zoo, digits) for a in zoo for b in zoo}
    for trained in zoo.values():
        monkeypatch.setattr(trained.classifier, "_batch", Batch.of(23))
        logits = measure.evaluate(trained.classifier, digits.images)
        assert np.array_equal(measure.correct(logits, digits.labels), trained.correct)
    again = {
        name: measure.attack(trained.classifier, digits.images, digits.labels, trained.correct, quick)
        for name, trained in zoo.items()
    }
    after = {(a, b): transferred(a, b, again, zoo, digits) for a in zoo for b in zoo}
    flipped = sum(int((before[cell] != after[cell]).sum()) for cell in before)
    # 0.1 % of 2,070 bits
    assert flipped <= sum(bits.size for bits in before.values()) // 1000
    assert all(np.array_equal(again[name].noise_fooled, results[name].noise_fooled) for name in zoo)


def test_noise_is_keyed_by_the_position_in_the_attack_part(zoo: Any, digits: Any, quick: Any) -> None:
    trained, few = zoo["byobnet"], slice(0, 64)
    strong = replace(quick, epsilon=Fraction(90, 255), steps=1)
    arguments = (trained.classifier, digits.images[few], digits.labels[few], trained.correct[few], strong)
    at_start, later = (measure.attack(*arguments, positions_from=start) for start in (0, 1000))
    assert np.array_equal(at_start.images, later.images)
    assert not np.array_equal(at_start.noise_fooled, later.noise_fooled)


def test_a_transfer_looks_at_common_images_only(results: Any, zoo: Any, digits: Any) -> None:
    everywhere = transferred("byobnet", "efficientnet", results, zoo, digits)
    half = zoo["byobnet"].correct & zoo["efficientnet"].correct & (np.arange(len(digits.labels)) % 2 == 0)
    result = results["byobnet"]
    fooled = measure.transfer(zoo["efficientnet"].classifier, result.images, result.positions, digits.labels, half)
    assert not fooled[~half].any()
    assert (fooled[half] != everywhere[half]).sum() <= 1, "other companions in the batch, the same image"


def test_controls_at_equal_sizes_say_nothing_new(results: Any, zoo: Any, digits: Any) -> None:
    source, result = zoo["byobnet"], results["byobnet"]
    ceiling = measure.ceiling(source.classifier, result.images, result.positions, digits.labels, target_side=32)
    assert np.array_equal(ceiling, result.fooled)
    floor = measure.floor(source.classifier, digits.images, digits.labels, source.correct, source_side=32)
    assert not floor.any()


def test_a_detour_through_another_size_weakens_an_attack(results: Any, zoo: Any, digits: Any) -> None:
    source, result = zoo["nfnet"], results["nfnet"]
    returned = measure.ceiling(source.classifier, result.images, result.positions, digits.labels, target_side=12)
    assert 0 < returned.sum() < result.fooled.sum()
    assert not returned[~source.correct].any()


# --- edges


def test_a_source_that_is_never_right_yields_an_empty_attack(zoo: Any, digits: Any, quick: Any) -> None:
    nothing = np.zeros(len(digits.labels), np.bool_)
    result = measure.attack(zoo["byobnet"].classifier, digits.images, digits.labels, nothing, quick)
    assert result.images.shape == (0, 32, 32, 1)
    assert not result.fooled.any()
    fooled = measure.transfer(zoo["nfnet"].classifier, result.images, result.positions, digits.labels, nothing)
    assert fooled.shape == nothing.shape
    assert not fooled.any()
    assert not measure.floor(zoo["nfnet"].classifier, digits.images, digits.labels, nothing, source_side=20).any()


def test_progress_rises_to_one(zoo: Any, digits: Any, quick: Any) -> None:
    heard: list[float] = []
    trained = zoo["byobnet"]
    measure.attack(
        trained.classifier,
        digits.images,
        digits.labels,
        trained.correct,
        replace(quick, steps=1),
        progress=heard.append,
    )
    assert heard == sorted(heard)
    assert len(heard) == 4
    assert heard[-1] == 1
    heard.clear()
    measure.evaluate(trained.classifier, digits.images, progress=heard.append)
    assert heard[-1] == 1


def test_every_measurement_hears_after_each_chunk_and_ends_where_progress_raises(
    results: Any, zoo: Any, digits: Any
) -> None:
    classifier, made, common = zoo["byobnet"].classifier, results["byobnet"], zoo["byobnet"].correct
    heard: list[float] = []

    def stop(share: float) -> None:
        heard.append(share)
        if len(heard) == 2:
            raise InterruptedError

    for measurement in (
        lambda: measure.transfer(classifier, made.images, made.positions, digits.labels, common, progress=stop),
        lambda: measure.floor(classifier, digits.images, digits.labels, common, source_side=24, progress=stop),
        lambda: measure.ceiling(classifier, made.images, made.positions, digits.labels, target_side=24, progress=stop),
        lambda: measure.evaluate(classifier, digits.images, progress=stop),
    ):
        heard.clear()
        with pytest.raises(InterruptedError):
            measurement()
        assert heard == [64 / 230, 128 / 230]


def test_the_first_of_equal_logits_is_the_answer() -> None:
    logits = np.array([[1, 1, 0], [0, 2, 2]], np.float32)
    assert measure.correct(logits, np.array([0, 2])).tolist() == [True, False]


class Overflowing(nn.Module):
    """A network whose logits are infinite on bright images."""

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (n, 2)."""
        bright = images.amax(dim=(1, 2, 3))
        return torch.stack([1 / (1 - bright), bright], dim=1)


def test_logits_that_are_no_numbers_are_counted_and_refused() -> None:
    classifier = Classifier(
        Overflowing(), input_side=4, image_channels=1, channels=1, mean=(0.0,), std=(1.0,), class_map=(0, 1)
    )
    images = np.full((70, 4, 4, 1), 100, np.uint8)
    assert measure.evaluate(classifier, images).shape == (70, 2)
    images[[66, 68]] = 255
    with pytest.raises(NotComputableError, match="not finite on 2 of 6 images from position 64 on"):
        measure.evaluate(classifier, images)


def test_read_only_and_strided_images_are_measured_as_they_are(zoo: Any, digits: Any) -> None:
    images = digits.images[:10].copy()
    images.flags.writeable = False
    classifier = zoo["nfnet"].classifier
    expected = measure.evaluate(classifier, images)
    assert np.array_equal(measure.evaluate(classifier, np.repeat(images, 2, axis=0)[::2]), expected)
