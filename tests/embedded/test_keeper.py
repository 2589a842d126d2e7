"""The keeper of one-machine services: who ends on purpose stays ended, everybody else comes back."""

import sys
import time
from pathlib import Path

import pytest

from embedded.errors import EmbeddedError
from embedded.keeper import Keeper
from embedded.processes import Service


@pytest.mark.parametrize(("status", "may_end", "starts"), [(0, True, 1), (75, True, 2), (1, True, 2), (0, False, 2)])
def test_only_a_service_that_may_end_and_ends_well_stays_away(
    tmp_path: Path, *, status: int, may_end: bool, starts: int
) -> None:
    log = tmp_path / "worker.log"
    command = (sys.executable, "-c", f"print('started', flush=True); raise SystemExit({status})")
    said: list[str] = []
    keeper = Keeper(tmp_path, said.append, lambda: False)
    keeper.start(Service(name="worker", command=command, may_end=may_end))
    deadline = time.monotonic() + 60
    settled = 0.0
    while time.monotonic() < deadline and settled < 3:
        keeper.tend()
        time.sleep(0.05)
        # the first pause before a restart is a second: after three, nothing more comes
        settled = settled + 0.05 if said else 0.0
        if log.read_text().count("started") >= 2:
            break
    keeper.stop_all()
    assert (log.read_text().count("started") >= 2) == (starts == 2)
    assert ("as it was asked to" in said[0]) == (starts == 1)


def test_pauses_before_restarts_grow_and_a_third_death_while_starting_is_the_last(tmp_path: Path) -> None:
    said: list[str] = []
    keeper = Keeper(tmp_path, said.append, lambda: False)
    # a busy machine may take long to start three processes: the deaths end this, not the clock
    dies = Service(
        name="api",
        command=(sys.executable, "-c", "raise SystemExit('no module named api')"),
        ready=lambda: False,
        ready_seconds=600,
    )
    keeper.start(dies)
    with pytest.raises(EmbeddedError, match=r"api does not start:\n(.|\n)*no module named api"):
        keeper.wait_until_ready(dies)
    keeper.stop_all()
    assert [sentence.split("starting it again in ")[1].split(".")[0] for sentence in said] == ["1 s", "2 s", "4 s"]
