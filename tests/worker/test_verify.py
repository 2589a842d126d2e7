"""`sat verify` on a pair that real workers measured, over the real api."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import delete, select, update

from client.cli import main
from client.registry import Registry
from embedded.processes import running
from embedded.programs import Programs, api_service, listen
from registry.tables import AttackRow, ComparisonRow, ImageSetRow, PairRow, TransferRow
from registry.versions import raise_all_versions
from sat_engine import measure
from sat_engine.errors import NotComputableError


@pytest.fixture
def measured(workshop: Any, members: Any) -> Iterator[tuple[Any, str]]:
    """A workshop with one measured pair, and the address of an api on it."""
    for member in members[:2]:
        workshop.register(member)
    workshop.start_worker()
    workshop.wait(lambda: workshop.idle() and len(workshop.measured()["pairs"]) == 1)
    workshop.stop_all()
    with listen(0, print) as listener:
        service = api_service(Programs(), workshop.environment, listener)
        with running(service, workshop.folder / "api.log"):
            yield workshop, f"http://127.0.0.1:{listener.getsockname()[1]}"


def sat(*arguments: str) -> int:
    """Run `sat` in this process; return its exit code."""
    with pytest.raises(SystemExit) as ended:
        main(list(arguments))
    return int(ended.value.code or 0)


def test_a_recorded_pair_is_recomputed_count_by_count(measured: Any, capsys: pytest.CaptureFixture[str]) -> None:
    workshop, url = measured
    assert sat("verify", "resnet", "byobnet", "--url", url) == 0, capsys.readouterr()
    said = capsys.readouterr().out
    assert "Equal, count by count." in said
    assert said.count("a fools b") == 2, "both rungs"
    assert "differs" not in said
    for figure in ("SAT recorded", "SAT recomputed", "fooled both ways", "noise on b", "a fools itself"):
        assert figure in said

    # as JSON, and nothing else on standard output
    assert sat("verify", "resnet", "byobnet", "--json", "--url", url) == 0
    answer = json.loads(capsys.readouterr().out)
    with Registry(url) as registry:
        pair = registry.pair("resnet", "byobnet")
    figures = {each["name"]: each for each in answer["figures"] if each["rung"] is None}
    assert answer["equal"]
    assert answer["same_path"]
    assert all(each["equal"] for each in answer["figures"])
    assert figures["sat"]["recomputed"] == pytest.approx(pair["sat"])
    assert [figures[name]["recomputed"] for name in ("sat_low", "sat_high")] == pytest.approx(pair["interval"])
    assert figures["fooled_both"]["recomputed"] == pair["fooled"]["both"]
    assert figures["noise_a_to_b"]["recomputed"] == pytest.approx(pair["controls"]["a_to_b"]["noise"])

    with workshop.sessions() as session:
        assert all(row.n_fooled for row in session.scalars(select(TransferRow))), "or equality says little"

    # turned round, the same counts under the other's name
    assert sat("verify", "byobnet", "resnet", "--url", url) == 0
    capsys.readouterr()
    assert sat("verify", "resnet", "resnet", "--url", url) == 1
    assert "same network" in capsys.readouterr().err

    with workshop.sessions.begin() as session:
        session.execute(update(TransferRow).where(TransferRow.rung == 0).values(n_fooled=TransferRow.n_fooled + 1))
        raise_all_versions(session)
        raised_to = session.scalars(select(ComparisonRow.version)).one()
    with Registry(url) as registry:
        workshop.wait(lambda: registry.pair("resnet", "byobnet")["version"] == raised_to)
    assert sat("verify", "resnet", "byobnet", "--url", url) == 1
    said = capsys.readouterr().out
    assert said.count("differs") == 2
    assert "Different: 2 of" in said
    assert "then none may differ" in said

    with workshop.sessions.begin() as session:
        session.execute(update(ImageSetRow).values(order_seed=1))
    assert sat("verify", "resnet", "byobnet", "--url", url) == 1
    assert "not what was measured" in capsys.readouterr().err


def test_a_pair_of_one_direction_needs_no_attack_on_the_other_side(
    measured: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    workshop, url = measured
    with workshop.sessions.begin() as session:
        # as Patch-Fool leaves it, which attacks transformers only
        refused = session.scalars(select(PairRow.b_id)).one()
        for row in (TransferRow.source_id, AttackRow.network_id):
            session.execute(delete(row.class_).where(row == refused))
        raise_all_versions(session)
        raised_to = session.scalars(select(ComparisonRow.version)).one()
        session.execute(update(PairRow).values(fooled_ba=None, fooled_both=None, version=raised_to))
    with Registry(url) as registry:
        workshop.wait(lambda: registry.pair("resnet", "byobnet")["version"] == raised_to)
    attacks, attack = [], measure.attack

    def noting(*arguments: Any, **options: Any) -> measure.AttackResult:
        attacks.append(arguments)
        return attack(*arguments, **options)

    monkeypatch.setattr(measure, "attack", noting)
    assert sat("verify", "resnet", "byobnet", "--url", url) == 0, capsys.readouterr()
    assert len(attacks) == 2, "one side, two rungs"
    said = capsys.readouterr().out
    assert "SAT recomputed" in said
    assert "fooled both ways" not in said

    def refusing(*_: Any, **__: Any) -> measure.AttackResult:
        raise NotComputableError("it has no patches")

    monkeypatch.setattr(measure, "attack", refusing)
    assert sat("verify", "resnet", "byobnet", "--url", url) == 1
    assert "cannot be computed here: it has no patches" in capsys.readouterr().err
