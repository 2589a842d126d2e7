"""A protocol is a value: what it says survives storage, and any change of it is another protocol."""

import json
from dataclasses import replace
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sat_engine.attack_kinds import KINDS
from sat_engine.errors import ProtocolError
from sat_engine.protocol import ENGINE_REVISION, MAX_SEED, MAX_STEPS, PRESETS, Protocol, with_published

DIGESTS = {
    "pgd": "166870c7b889",
    "pgd-paper": "78675fee6c63",
    "mi-fgsm": "3c6b2026159f",
    "vmi-fgsm": "5bdfe1f9ace9",
    "low-frequency-pgd": "f204804ffec2",
    "apgd": "0aa50e4b809f",
    "patch-fool": "f5307646ebc9",
}
levels = st.fractions(min_value=0, max_value=1, max_denominator=1000)
protocols = st.builds(
    Protocol,
    attack=st.just("pgd"),
    epsilon=levels,
    step_size=levels.filter(bool),
    steps=st.integers(1, MAX_STEPS),
    seed=st.integers(0, MAX_SEED),
)


@given(protocols)
def test_a_protocol_survives_json(protocol: Protocol) -> None:
    stored = json.loads(json.dumps(protocol.canonical()))
    assert Protocol.from_parameters(stored) == protocol
    assert Protocol.from_parameters(stored).digest() == protocol.digest()


@given(protocols, protocols)
def test_protocols_share_a_digest_exactly_when_they_are_equal(one: Protocol, other: Protocol) -> None:
    assert (one.digest() == other.digest()) == (one == other)


@pytest.mark.parametrize(
    ("field", "value"),
    [("epsilon", Fraction(4, 255)), ("step_size", Fraction(1, 255)), ("steps", 49), ("seed", 1)],
)
def test_every_number_is_in_the_digest(field: str, value: object) -> None:
    assert replace(PRESETS["pgd"], **{field: value}).digest() != PRESETS["pgd"].digest()


def test_the_presets_are_those_that_stored_results_name() -> None:
    # a changed digest orphans every stored score: raise ENGINE_REVISION on purpose, and then change these
    assert ENGINE_REVISION == 1
    assert PRESETS["pgd"].digest().hex() == "166870c7b8897ba2e5d318933925b55d595650880fd335840604f354b0b8690f"
    assert PRESETS["pgd"].canonical()["epsilon"] == "8/255"
    assert PRESETS["pgd-paper"].step_size > 2 * PRESETS["pgd-paper"].epsilon, "each step lands on a corner"


def test_the_digests_of_all_presets_are_kept() -> None:
    assert {name: preset.digest().hex()[:12] for name, preset in PRESETS.items()} == DIGESTS
    assert set(PRESETS["pgd"].canonical()) == {
        "attack", "epsilon", "step_size", "steps", "start", "loss", "seed", "resize", "rounding", "engine_revision",
    }  # fmt: skip


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_survives_json_and_is_made_of_what_was_published(name: str) -> None:
    preset = PRESETS[name]
    assert Protocol.from_parameters(json.loads(json.dumps(preset.canonical()))) == preset
    if name not in {"pgd", "pgd-paper"}:
        published = with_published({"attack": preset.attack, "epsilon": preset.epsilon})
        assert Protocol.from_parameters(published) == preset


def test_every_available_attack_has_a_preset_and_a_cost() -> None:
    assert {preset.attack for preset in PRESETS.values()} == {a for a, kind in KINDS.items() if not kind.unavailable}
    assert PRESETS["vmi-fgsm"].gradients == 10 * (1 + 20)
    assert (PRESETS["pgd"].gradients, PRESETS["apgd"].gradients) == (50, 101)


@pytest.mark.parametrize(
    ("attack", "changed", "named"),
    [
        ("pgd", {"momentum": 1}, "unknown protocol field momentum; pgd takes"),
        ("mi-fgsm", {"frequencies": "1/2"}, "unknown protocol field frequencies; mi-fgsm takes .* momentum"),
        ("mi-fgsm", {"momentum": 11}, "momentum is 11"),
        ("mi-fgsm", {"momentum": [1]}, "momentum is"),
        ("vmi-fgsm", {"neighbours": "1/2"}, "neighbours is 1/2; give a whole number"),
        ("vmi-fgsm", {"neighbours": 0}, "neighbours is 0"),
        ("low-frequency-pgd", {"frequencies": 0}, "frequencies is 0"),
        ("apgd", {"start": "corner"}, "start is 'corner'; apgd knows random, image"),
        ("pgd", {"start": "random"}, "start is 'random'; pgd knows image"),
        ("bia", {}, "bia is not available"),
    ],
)
def test_an_attack_takes_its_own_options_alone(attack: str, changed: dict[str, object], named: str) -> None:
    with pytest.raises(ProtocolError, match=named):
        Protocol.from_parameters({"attack": attack, "epsilon": "8/255", "step_size": "2/255", "steps": 5} | changed)
    with pytest.raises(ProtocolError, match="unknown option size"):
        replace(PRESETS["pgd"], options={"size": Fraction(1)})


def test_an_option_is_in_the_digest_and_its_default_is_written_out() -> None:
    base = {"attack": "mi-fgsm", "epsilon": "8/255", "step_size": "2/255", "steps": 5}
    default = Protocol.from_parameters(base)
    assert default.canonical()["momentum"] == "1"
    assert Protocol.from_parameters(base | {"momentum": 1}).digest() == default.digest()
    assert Protocol.from_parameters(base | {"momentum": "1/2"}).digest() != default.digest()


def test_left_out_fields_get_their_defaults_and_decimals_are_exact() -> None:
    given_by_hand = {"attack": "pgd", "epsilon": 0.03, "step_size": "0.1", "steps": 5}
    protocol = Protocol.from_parameters(given_by_hand)
    assert (protocol.epsilon, protocol.step_size, protocol.seed) == (Fraction(3, 100), Fraction(1, 10), 0)


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"attack": "fgsm"}, "attack is 'fgsm'"),
        ({"attack": ["pgd"]}, "attack is"),
        ({"epsilon": 8}, "epsilon is 8"),
        ({"epsilon": "-1/255"}, "epsilon is '-1/255'"),
        ({"epsilon": "1e999999999"}, "epsilon is '1e999999999'"),
        ({"epsilon": "1/0"}, "divides by zero"),
        ({"epsilon": float("nan")}, "epsilon is nan"),
        ({"epsilon": True}, "epsilon is True"),
        ({"step_size": 0}, "step_size is 0"),
        ({"steps": 0}, "steps is 0"),
        ({"steps": 2.5}, "steps is 2.5"),
        ({"steps": True}, "steps is True"),
        ({"seed": -1}, "seed is -1"),
        ({"engine_revision": ENGINE_REVISION + 1}, "engine_revision"),
        ({"restarts": 3}, "unknown protocol field restarts"),
    ],
)
def test_a_wrong_field_is_refused_by_name(changed: dict[str, object], named: str) -> None:
    with pytest.raises(ProtocolError, match=named):
        Protocol.from_parameters({"attack": "pgd", "epsilon": "8/255", "step_size": "2/255", "steps": 50} | changed)


def test_missing_fields_are_named_together() -> None:
    with pytest.raises(ProtocolError, match="lacks epsilon, step_size, steps"):
        Protocol.from_parameters({"attack": "pgd"})
