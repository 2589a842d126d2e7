"""`sat verify` on a pair that real workers measured, over the real api."""

from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import select, update

from client.cli import main
from client.registry import Registry
from embedded.processes import running
from embedded.programs import Programs, api_service, listen
from registry.tables import ComparisonRow, ImageSetRow, TransferRow
from registry.versions import raise_all_versions


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
