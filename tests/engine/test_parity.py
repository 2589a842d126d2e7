"""A faster path stands for float32 only where it gives nearly the same bits."""

from typing import Any

import pytest
import torch

from sat_engine import measure, networks, precision
from sat_engine.parity import WEAKENED, Parity, compare_paths
from sat_engine.precision import Precision, has_bfloat16, has_fast_bfloat16, precision_of


def test_a_path_is_at_parity_with_itself(zoo: Any, digits: Any, quick: Any, results: Any) -> None:
    same = zoo["byobnet"].classifier
    parity = compare_paths(same, same, digits.images, digits.labels, quick, {"nfnet": results["nfnet"]})
    assert parity.passes
    assert parity.n == zoo["byobnet"].correct.sum()
    assert set(parity.cells) == {
        "own attack", "noise", "the reference's attack", "the candidate's attack", "nfnet"
    }  # fmt: skip
    assert set(parity.cells.values()) == {0.0}


def test_bfloat16_is_recorded_and_its_parity_measured(zoo: Any, digits: Any, quick: Any) -> None:
    trained = zoo["byobnet"]
    fast = networks.build(trained.spec, trained.tensors, image_channels=1, precision=Precision.BFLOAT16)
    assert fast.numeric_path.startswith("bfloat16 folded channels_last ")
    assert precision_of(fast.numeric_path) is Precision.BFLOAT16
    few = slice(64)
    logits = measure.evaluate(fast, digits.images[few])
    exact = measure.evaluate(trained.classifier, digits.images[few])
    assert not (logits == exact).all(), "nothing was computed in bfloat16"
    parity = compare_paths(trained.classifier, fast, digits.images[few], digits.labels[few], quick)
    assert parity.clean_flips < 0.1


def test_some_cell_fools_neither_nobody_nor_everybody(
    zoo: Any, digits: Any, quick: Any, results: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    rates, transfer = [], measure.transfer

    def noting(*arguments: Any, **options: Any) -> Any:
        fooled = transfer(*arguments, **options)
        rates.append(fooled.sum() / arguments[4].sum())
        return fooled

    monkeypatch.setattr(measure, "transfer", noting)
    same = zoo["byobnet"].classifier
    heard: list[float] = []
    alone = compare_paths(same, same, digits.images, digits.labels, quick, progress=heard.append)
    assert {f"{share:g} of the reference's attack" for share in WEAKENED} < set(alone.cells)
    assert any(0.05 < rate < 0.95 for rate in rates), rates
    assert len(heard) > 10


def test_too_few_images_prove_nothing(zoo: Any, digits: Any, quick: Any) -> None:
    same = zoo["byobnet"].classifier
    parity = compare_paths(same, same, digits.images[:20], digits.labels[:20], quick)
    assert set(parity.cells.values()) == {0.0}
    assert not parity.passes
    nothing = compare_paths(same, same, digits.images[:0], digits.labels[:0], quick)
    assert (nothing.n, nothing.net_change, dict(nothing.cells)) == (0, 0.0, {})
    assert not nothing.passes


def test_another_network_does_not_pass_for_this_one(zoo: Any, digits: Any, quick: Any) -> None:
    parity = compare_paths(
        zoo["byobnet"].classifier, zoo["efficientnet"].classifier, digits.images, digits.labels, quick
    )
    assert not parity.passes


@pytest.mark.parametrize(
    ("clean_flips", "net_change", "cells", "passes"),
    [
        (0.005, 0.002, {"a": 0.01, "b": -0.006}, True),
        (0.006, 0.0, {"a": 0.0}, False),
        (0.0, -0.003, {"a": -0.003}, False),
        (0.0, 0.0, {"a": 0.011, "b": -0.011}, False),
    ],
)
def test_the_gate(clean_flips: float, net_change: float, cells: dict[str, float], passes: bool) -> None:  # noqa: FBT001  # a column of the table
    assert Parity(n=500, clean_flips=clean_flips, net_change=net_change, cells=cells).passes == passes


def test_old_paths_are_float32_and_the_cpu_is_asked() -> None:
    assert precision_of("float32") is Precision.FLOAT32
    assert precision_of("test") is Precision.FLOAT32
    assert isinstance(has_bfloat16(torch.device("cpu")), bool)
    assert not has_bfloat16(torch.device("meta"))


@pytest.mark.parametrize(("announced", "seconds", "fast"), [(True, 1.0, True), (True, 2.0, False), (False, 1.0, False)])
def test_bfloat16_is_fast_where_it_is_measured_to_be(
    monkeypatch: pytest.MonkeyPatch, *, announced: bool, seconds: float, fast: bool
) -> None:
    monkeypatch.setattr(precision, "has_bfloat16", lambda _: announced)
    took = {torch.float32: 1.5, torch.bfloat16: seconds}
    monkeypatch.setattr(precision, "_seconds", took.__getitem__)
    assert has_fast_bfloat16.__wrapped__(torch.device("cpu")) is fast


def test_a_product_is_really_timed() -> None:
    assert 0 < precision._seconds(torch.float32) < 10
