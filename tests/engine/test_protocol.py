"""A protocol is a value: what it says survives storage, and any change of it is another protocol."""

import json
from dataclasses import replace
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sat_engine.errors import ProtocolError
from sat_engine.protocol import ENGINE_REVISION, MAX_SEED, MAX_STEPS, PRESETS, Protocol

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
