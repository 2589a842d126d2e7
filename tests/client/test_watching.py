"""When `sat watch` goes on, ends and complains; the registry is a script on a real socket."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import pytest
from rich.console import Console

from client.registry import Registry
from client.watching import PATIENCE, outcome, watch
from tests.client.conftest import json_answer


def look(measured: int, cells: int, **queued: int) -> list[Any]:
    """Return the two answers that one look asks for."""
    progress = {"networks": 3, "cells": cells, "cells_measured": measured, "pairs": 0, "pairs_measured": 0}
    comparison = {"name": "digits/pgd", "state": "measuring", "progress": progress}
    counts = {"queued": queued, "running": {}}
    jobs = {"items": [], "next": None, "total": 0, "counts": counts, "estimate_seconds": 3.0}
    return [json_answer(200, {"items": [comparison], "next": None, "total": 1}), json_answer(200, jobs)]


def workers(*, alive: bool) -> Any:
    return json_answer(200, {"items": [{"alive": alive}], "next": None, "total": 1})


def watched(loopback: Callable[..., Any], *answers: Any, workerless_seconds: float = 60) -> tuple[str, str, int]:
    """Return how the watching ended, what it showed, and how many requests it took."""
    server = loopback(*answers)
    console = Console(record=True, width=120, quiet=False)
    with Registry(server.url) as registry:
        last = watch(registry, console, poll_seconds=0, workerless_seconds=workerless_seconds)
    return outcome(last, []), console.export_text(), len(server.asked)


def test_it_ends_when_every_cell_is_there(loopback: Callable[..., Any]) -> None:
    busy = look(2, 6, transfers=2)
    ended, shown, asked = watched(loopback, *busy, *busy, *look(6, 6))
    assert ended == "All 6 cells are measured."
    assert "2 of 6 cells measured; jobs: 2 transfers; about 3 s left" in shown
    assert "6 of 6" in shown
    assert asked == 6


def test_all_cells_are_not_the_end_while_work_waits(loopback: Callable[..., Any]) -> None:
    # a fourth model is being prepared: its cells are not counted yet
    ended, _, _ = watched(loopback, *look(6, 6, prepare=1), *look(6, 12, attack=1), *look(12, 12))
    assert ended == "All 12 cells are measured."


def test_missing_cells_without_work_are_given_up(loopback: Callable[..., Any]) -> None:
    looks = [answer for _ in range(PATIENCE) for answer in look(4, 6)]
    ended, _, asked = watched(loopback, *looks)
    assert ended.startswith("4 of 6 cells are measured; 2 could not be")
    assert "sat retry" in ended
    assert asked == 2 * PATIENCE


def test_work_without_a_living_worker_says_so_once(loopback: Callable[..., Any]) -> None:
    waiting = look(0, 6, evaluate=3)
    for alive in (True, False):
        answers = [*waiting, workers(alive=alive), *waiting, *waiting, *look(6, 6)]
        _, shown, asked = watched(loopback, *answers, workerless_seconds=0)
        assert shown.count("No worker is alive") == (not alive)
        assert asked == 9


@pytest.mark.parametrize("terminal", [True, False])
def test_a_terminal_gets_bars(loopback: Callable[..., Any], terminal: bool) -> None:  # noqa: FBT001 (parametrised)
    server = loopback(*look(3, 6, transfers=1), *look(6, 6))
    console = Console(record=True, width=120, force_terminal=terminal)
    with Registry(server.url) as registry:
        watch(registry, console, poll_seconds=0)
    shown = console.export_text()
    assert ("━" in shown) == terminal
    assert ("6/6" if terminal else "6 of 6") in shown


def test_ctrl_c_leaves_the_work_running_and_says_so(loopback: Callable[..., Any]) -> None:
    progress = {"networks": 3, "cells": 6, "cells_measured": 2, "pairs": 3, "pairs_measured": 1}
    everything = {  # what /comparisons, /jobs and /workers say, in one answer
        "items": [{"name": "digits/pgd", "state": "measuring", "progress": progress, "alive": True}],
        "next": None,
        "counts": {"queued": {"transfers": 2}, "running": {}},
        "estimate_seconds": None,
    }
    server = loopback(json_answer(200, everything))
    # what runs in the background of a shell ignores SIGINT, and so would its children
    command = ["env", "--default-signal=INT", sys.executable, "-m", "client", "watch", "--url", server.url]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as watching:
        deadline = time.monotonic() + 60
        while len(server.asked) < 4 and time.monotonic() < deadline:
            time.sleep(0.01)
        watching.send_signal(signal.SIGINT)
        out, err = watching.communicate(timeout=60)
    assert (watching.returncode, err) == (0, "")
    assert "2 of 6 cells measured" in out
    assert out.endswith("The work goes on without this command; `sat watch` shows it again.\n")
