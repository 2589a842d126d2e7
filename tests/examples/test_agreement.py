"""The page on agreement, from two small networks."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from examples.digits import images
from examples.digits.agreement import BASELINE, FURTHER, Loaded, further_of, measured, page, protocols
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


def test_patch_fool_has_more_networks_to_attack_and_so_has_what_it_is_compared_with() -> None:
    found = {name: further_of(name, protocol) for name, protocol in protocols().items()}
    assert {name for name, further in found.items() if further} == {BASELINE, "patch-fool"}
    assert {each.architecture for each in FURTHER} == {"test_vit"}
    assert len({each.digest() for each in FURTHER}) == 2


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
    # a pair that one attack measured in one direction has no part in the agreement of the two
    one_sided = replace(results["mi-fgsm"], sat=results["mi-fgsm"].sat.copy(), refusals={"net-3": "it has no patches"})
    one_sided.sat[3] = one_sided.sat[:, 3] = np.nan
    text = "\n".join(page(results | {"apgd": one_sided, "patch-fool": refused}, 64))
    assert "| `pgd` | 1.00 |" in text
    assert "| 4 | 6 |" in text
    assert "| `apgd` | 3 models have pairs that both comparisons measured, and 4 are needed |" in text
    assert "| `patch-fool` | 0 models have pairs" in text
    assert "agreement leaves out: net-0, net-1, net-2, net-3." in text
    assert "`bia` is not here: it needs a generator" in text
