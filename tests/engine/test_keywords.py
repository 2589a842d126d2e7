"""Laws of the clusters' keywords."""

from math import log

import numpy as np
import pytest

from sat_engine.clustering import keywords

RESNET = {"stem_layer": "7x7 conv s2", "activation": "ReLU", "attention": None}
VIT = {"stem_layer": "16x16 conv s16", "activation": "GELU", "attention": "none"}


def test_words_name_the_component_and_rank_by_hand_computed_weights() -> None:
    architectures = [RESNET, RESNET, {**RESNET, "stem_layer": "3x3 conv s2"}, VIT]
    first, second = keywords(architectures, [0, 0, 0, 1])
    # of two words a ResNet: idf(7x7) = ln 2 in two of three documents, idf(ReLU) = ln 4/3 in all three
    weights = {
        "Stem layer: 7x7 conv s2": log(4 / 2) / 2 * 2 / 3,
        "Stem layer: 3x3 conv s2": log(4 / 1) / 2 / 3,
        "Activation: ReLU": log(4 / 3) / 2,
    }
    assert first == sorted(weights, key=lambda word: (-round(weights[word], 12), word))
    assert second == ["Activation: GELU", "Attention: none", "Stem layer: 16x16 conv s16"]


def test_a_component_that_is_not_known_is_no_word() -> None:
    assert not any("Attention" in word for word in keywords([RESNET, VIT], [0, 1])[0])


def test_what_every_architecture_has_says_nothing() -> None:
    assert keywords([RESNET, RESNET], [0, 1]) == [[], []]


def test_at_most_top_words_and_an_architecture_without_any() -> None:
    assert keywords([VIT, RESNET, {"stem_layer": None}], [0, 1, 2], top=1) == [
        ["Activation: GELU"],
        ["Activation: ReLU"],
        [],
    ]


def test_the_order_of_models_changes_nothing() -> None:
    draw = np.random.default_rng(0)
    architectures = [{f"component {c}": f"v{draw.integers(3)}" for c in range(13)} for _ in range(30)]
    labels = draw.integers(0, 4, 30)
    shuffle = draw.permutation(30)
    assert keywords([architectures[i] for i in shuffle], labels[shuffle]) == keywords(architectures, labels)


def test_one_label_for_each_architecture() -> None:
    with pytest.raises(ValueError, match="2 architectures, but 1 cluster label"):
        keywords([RESNET, VIT], [0])
