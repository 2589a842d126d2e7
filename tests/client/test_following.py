"""Following one model: bars, cells a second, the time left; Ctrl-C leaves the work running."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import pytest
from rich.console import Console

from client.following import Pace, follow, told
from client.registry import Registry
from tests.client.conftest import Outcome, json_answer

Sat = Callable[..., Outcome]
STREAM = {"Content-Type": "text/event-stream"}


def progress(measured: int, cells: int = 6, stage: str = "transferring") -> dict[str, Any]:
    return {
        "stage": stage,
        "reason": None,
        "cells_measured": measured,
        "cells": cells,
        "pairs": 3,
        "pairs_measured": 0,
        "complete": measured == cells and stage == "measured",
    }


def stream(*events: tuple[str, object]) -> bytes:
    return b"".join(
        f"event: {kind}\nid: {number}\ndata: {json.dumps(data)}\n\n".encode()
        for number, (kind, data) in enumerate(events)
    )


def event(measured: int, stage: str = "transferring") -> tuple[str, object]:
    return "progress", {"model": "a", "state": "ready", "progress": progress(measured, stage=stage)}


MEASURED = stream(event(0, "attacking"), event(2), event(6, "measured"), ("end", {"reason": "measured"}))
MODEL = {"name": "a", "state": "ready", "failure": None, "progress": progress(6, stage="measured")}


@pytest.mark.parametrize("terminal", [True, False])
def test_progress_is_shown_until_the_end(loopback: Callable[..., Any], terminal: bool) -> None:  # noqa: FBT001  parametrised
    console = Console(record=True, width=120, force_terminal=terminal)
    with Registry(loopback((200, STREAM, MEASURED)).url) as registry:
        assert follow(registry, "a", console) == "measured"
    shown = console.export_text()
    assert ("━" in shown) == terminal
    assert "6 of 6 cells" in shown
    assert "measured" in shown


def test_rates_and_the_time_left_follow_from_the_last_half_minute() -> None:
    pace = Pace()
    assert (pace.rate(), pace.seconds_left(6)) == (None, None)
    for second in range(100):
        pace.note(second * 2 if second < 50 else 100 + (second - 50) * 4, float(second))
    assert pace.rate() == pytest.approx(4)
    assert pace.seconds_left(8) == pytest.approx(2)
    pace.note(0, 100.0)  # a model was deleted
    assert pace.rate() is None
    pace.note(3, 101.0)
    assert told({"progress": progress(3)}, pace) == "transferring, 3 of 6 cells, 3.0 cells/s, 1 s left"


def test_registering_can_be_watched(sat: Sat, loopback: Callable[..., Any]) -> None:
    answers = [json_answer(202, MODEL), (200, STREAM, MEASURED), json_answer(200, MODEL)]
    command = ["register", "--name", "a", "--architecture", "resnet18", "--pretrained", "a1_in1k", "--watch", "--url"]
    ended = sat(*command, loopback(*answers).url)
    assert (ended.code, ended.out.splitlines()[-1]) == (0, "a is ready: measured.")
    assert "6 of 6 cells" in ended.out
    with_json = sat(*command, loopback(*answers).url, "--json")
    assert json.loads(with_json.out) == MODEL  # the progress goes to standard error


def test_a_model_that_fails_is_exit_code_1(sat: Sat, loopback: Callable[..., Any]) -> None:
    failed = {**MODEL, "state": "failed", "failure": "it is no checkpoint.", "progress": progress(0, stage="failed")}
    ending = stream(event(0, "failed"), ("end", {"reason": "failed"}))
    ended = sat("watch", "a", "--url", loopback((200, STREAM, ending), json_answer(200, failed)).url)
    assert (ended.code, ended.err) == (1, "sat: a: it is no checkpoint.\n")


def test_events_can_be_read_by_programs(sat: Sat, loopback: Callable[..., Any]) -> None:
    ended = sat("watch", "a", "--json", "--url", loopback((200, STREAM, MEASURED)).url)
    lines = [json.loads(line) for line in ended.out.splitlines()]
    assert [line["event"] for line in lines] == ["progress", "progress", "progress", "end"]
    assert lines[-1]["data"] == {"reason": "measured"}


def test_ctrl_c_leaves_the_work_running_and_says_how_to_come_back(loopback: Callable[..., Any]) -> None:
    # the stream is cut and taken up again, for ever: nothing changes meanwhile
    server = loopback((200, STREAM, stream(event(2))))
    # what runs in the background of a shell ignores SIGINT, and so would its children
    command = ["env", "--default-signal=INT", sys.executable, "-m", "client", "watch", "a", "--url", server.url]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as watching:
        deadline = time.monotonic() + 60
        while len(server.asked) < 2 and time.monotonic() < deadline:
            time.sleep(0.01)
        watching.send_signal(signal.SIGINT)
        out, err = watching.communicate(timeout=60)
    assert (watching.returncode, err) == (0, "")
    assert "2 of 6 cells" in out
    assert out.endswith("The work goes on without this command; `sat watch a` shows it again.\n")
    assert server.headers[1]["Last-Event-ID"] == "0"
