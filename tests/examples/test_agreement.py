"""The page on agreement, from two small networks."""

from pathlib import Path

import numpy as np

from examples.digits import images
from examples.digits.agreement import BASELINE, Result, measured, page, protocols
from examples.digits.agreement import Member as Loaded
from examples.digits.calibrate import load
from examples.digits.fit import fit
from examples.digits.zoo import EPSILON, Member, Recipe
from sat_engine import measure
from sat_engine.protocol import PRESETS


def test_every_preset_is_measured_at_the_zoo_s_radius() -> None:
    found = protocols()
    assert set(found) == set(PRESETS)
    assert {name for name, protocol in found.items() if protocol.epsilon != EPSILON} == {"patch-fool"}
    assert found["pgd-paper"].step_size > EPSILON


def test_the_page_shows_agreement_and_who_could_not_be_attacked(tmp_path: Path) -> None:
    squares, labels = images.held_out()
    squares, labels = squares[:64], labels[:64]
    zoo = []
    for seed in range(4):
        recipe = Recipe(epochs=2)
        member = Member(name=f"net-{seed}", architecture="test_resnet", options={}, recipe=recipe, seed=seed)
        fit(member, member.path(tmp_path))
        classifier = load(member, member.path(tmp_path))
        correct = measure.correct(measure.evaluate(classifier, squares), labels)
        zoo.append(Loaded(name=member.name, classifier=classifier, correct=correct))
    chosen = protocols()
    results = {name: measured(zoo, squares, labels, chosen[name]) for name in (BASELINE, "mi-fgsm")}
    assert np.isfinite(results[BASELINE].sat).sum() == 12
    refused = measured(zoo, squares, labels, chosen["patch-fool"])
    assert not np.isfinite(refused.sat).any()
    assert set(refused.refusals) == {"net-0", "net-1", "net-2", "net-3"}
    one_sided = Result(
        protocol=chosen["apgd"], sat=results["mi-fgsm"].sat, self_fooling=results["mi-fgsm"].self_fooling,
        seconds=1.0, refusals={"net-3": "it has no patches"},
    )  # fmt: skip
    text = "\n".join(page(results | {"apgd": one_sided}, 64))
    assert "| `pgd` | 1.00 |" in text
    assert "| 4 | 6 |" in text
    assert "pairs of these have none: net-3." in text
    assert "`bia` is not here: it needs a generator" in text
