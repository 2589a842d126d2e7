"""`sat serve` with the real api and the real workers."""

import json
import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from embedded.processes import processes_in

SERVE = (sys.executable, "-P", "-m", "client", "serve", "--workers", "1")


def environment(home: Path) -> dict[str, str]:
    """Return an environment with a data folder of its own, and without a terminal's width."""
    return os.environ | {"SAT_HOME": str(home), "SAT_PORT": "18300"}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data folder of this module's stack."""
    return tmp_path_factory.mktemp("serve")


@pytest.fixture(scope="module")
def serving(home: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The running command and the URL that it printed."""
    process = subprocess.Popen(SERVE, env=environment(home), stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        lines: list[str] = []
        for line in process.stdout:
            lines.append(line)
            if "answers at" in line:
                break
        assert lines, "it said nothing"
        assert "answers at" in lines[-1], "".join(lines)
        yield process, lines[-1].split("answers at ")[1].split()[0]
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def children_of(process_id: int) -> Sequence[int]:
    """Return the process ids of the direct children."""
    listed = subprocess.run(
        ["ps", "-o", "pid=", "--ppid", str(process_id)], capture_output=True, text=True, check=False
    )
    return [int(word) for word in listed.stdout.split()]


def test_it_answers_and_says_where(serving: tuple[subprocess.Popen[str], str], home: Path) -> None:
    process, url = serving
    with urllib.request.urlopen(f"{url}/readyz", timeout=10) as answer:
        assert answer.status == 200
    assert json.loads((home / "stack.json").read_text()) == {"url": url, "pid": process.pid}


def test_a_second_one_says_where_the_first_answers(serving: tuple[subprocess.Popen[str], str], home: Path) -> None:
    process, url = serving
    second = subprocess.run(SERVE, env=environment(home), capture_output=True, text=True, check=False, timeout=30)
    assert second.returncode == 0, second.stderr
    assert f"already runs on this folder: {url} (process {process.pid})" in second.stdout
    command = [*SERVE, "--json"]
    third = subprocess.run(command, env=environment(home), capture_output=True, text=True, check=False, timeout=30)
    assert json.loads(third.stdout) == {"url": url, "pid": process.pid, "started": False, "home": str(home)}
    assert "already runs" in third.stderr


def test_workers_of_both_lanes_enter_themselves(
    serving: tuple[subprocess.Popen[str], str], eventually: Callable[..., None]
) -> None:
    def lanes() -> set[str]:
        with urllib.request.urlopen(f"{serving[1]}/workers", timeout=10) as answer:
            workers = json.load(answer)["items"]
        return {lane for worker in workers if worker["alive"] for lane in worker["lanes"]}

    eventually(lambda: lanes() == {"compute", "light"}, 60)


def test_it_ends_in_order_on_sigterm(
    serving: tuple[subprocess.Popen[str], str], home: Path, alive: Callable[[int], bool]
) -> None:
    process, _ = serving
    children = children_of(process.pid)
    assert len(children) == 5  # postgres, valkey, api, two workers
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 0
    assert not any(alive(child) for child in children)
    assert processes_in(home / "postgres") == []
    assert not (home / "stack.json").exists()
    assert "database system is shut down" in (home / "logs" / "postgres.log").read_text()
