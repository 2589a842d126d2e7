"""`sat protocols` and `sat agreement` against the real api."""

import json
from typing import Any

import pytest


def test_protocols_are_listed_with_what_their_attacks_can_do(sat: Any, real_url: str) -> None:
    ended = sat("protocols", "list", "--url", real_url)
    assert ended.code == 0, ended.err
    for word in ("pgd-paper", "patch-fool", "neighbours 20", "vision transformers only", "not available"):
        assert word in " ".join(ended.out.split())
    found = json.loads(sat("protocols", "list", "--json", "--url", real_url).out)
    assert {"bia", "pgd"} <= {each["name"] for each in found["attacks"]}


def test_a_protocol_is_added_and_wrong_ones_are_refused_by_name(sat: Any, real_url: str) -> None:
    command = ["protocols", "add", "--name", "mine", "--attack", "mi-fgsm", "--epsilon", "4/255", "--url", real_url]
    ended = sat(*command, "--option", "momentum=1/2", "--steps", 7)
    assert ended.code == 0, ended.err
    assert "momentum 1/2" in ended.out
    assert "steps 7" in ended.out
    assert sat(*command, "--option", "momentum=1/2", "--steps", 7).code == 0, "the same again is harmless"
    for more, code, word in (
        (["--option", "momentum=1/3", "--steps", 7], 1, "mine"),
        (["--option", "frequencies=1/2"], 1, "frequencies"),
        (["--option", "momentum"], 2, "name=value"),
    ):
        refused = sat(*command, *more)
        assert refused.code == code
        assert word in refused.err


def test_agreement_asks_for_two_comparisons(sat: Any, real_url: str) -> None:
    ended = sat("agreement", "nowhere/pgd", "nowhere/apgd", "--url", real_url)
    assert ended.code == 1
    assert "nothing is compared yet" in ended.err


@pytest.mark.parametrize("reason", [None, "3 models have pairs, and 4 are needed."])
def test_agreement_is_shown_or_why_there_is_none(sat: Any, loopback: Any, reason: str | None) -> None:
    from tests.client.conftest import json_answer

    figures = {
        "spearman": 0.91234, "interval": [0.8, 0.95], "p_value": 0.001, "mean_difference": -0.2,
        "difference_interval": [-0.3, -0.1], "models": 256, "of_models": 1300, "pairs": 32640,
    }  # fmt: skip
    body = {name: None if reason else value for name, value in figures.items()} | {"reason": reason}
    server = loopback(json_answer(200, body))
    ended = sat("agreement", "digits/pgd", "digits/apgd", "--url", server.url)
    assert ended.code == 0, ended.err
    if reason:
        assert reason in ended.out
    else:
        assert "Spearman 0.91  (95 %: 0.80 … 0.95" in ended.out
        assert "256 models (a sample of 1300)" in ended.out
    assert server.asked == [("GET", "/agreement?comparisons=digits%2Fpgd%2Cdigits%2Fapgd")]
