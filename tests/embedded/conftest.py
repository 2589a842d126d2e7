"""A stack of small real programs, in this process and in one of its own."""

import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from embedded.programs import Programs
from embedded.sockets import remove_socket_folder
from embedded.supervisor import Stack

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Serving:
    """A stack in another process."""

    process: subprocess.Popen[str]
    url: str
    pids: Mapping[str, int]


def _programs(**other: Sequence[str]) -> Programs:
    names = {"migrate": "small_migration.py", "api": "small_api.py", "worker": "small_worker.py"}
    commands = {name: (sys.executable, str(HERE / file)) for name, file in names.items()}
    return Programs(**{**commands, **other})


@pytest.fixture(scope="session")
def small_programs() -> Callable[..., Programs]:
    """Make the small programs' commands; keywords replace some."""
    return _programs


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack in this process, shared by a module's tests."""
    home = tmp_path_factory.mktemp("stack")
    with Stack(home, compute_workers=1, programs=_programs(), say=lambda _: None) as running:
        yield running


@pytest.fixture
def serve() -> Callable[..., AbstractContextManager[Serving]]:
    """Run a stack in another process while a `with` block lasts; options go to Popen."""

    @contextmanager
    def serving(
        home: Path, command: Sequence[str] = (sys.executable,), program: Path = HERE / "small_stack.py", **options: Any
    ) -> Iterator[Serving]:
        options = {"env": os.environ | {"SAT_PORT": "18500"}, **options}
        process = subprocess.Popen([*command, str(program), str(home)], stdout=subprocess.PIPE, text=True, **options)
        try:
            line = process.stdout.readline()
            assert line, f"the stack ended with status {process.wait()}"
            yield Serving(process, **json.loads(line))
        finally:
            process.terminate()
            process.wait()
            process.stdout.close()
            remove_socket_folder(home / "sockets")  # a killed stack leaves it to its successor

    return serving


@pytest.fixture(scope="session")
def ask() -> Callable[..., dict[str, int]]:
    """Get a path of the small api as JSON; one attempt."""

    def get(url: str, path: str = "/healthz") -> dict[str, int]:
        with urllib.request.urlopen(url + path, timeout=20) as answer:
            return json.load(answer)

    return get


@pytest.fixture(scope="session")
def eventually() -> Callable[..., None]:
    """Wait until a condition holds; fail after that many seconds."""

    def wait(condition: Callable[[], object], seconds: float = 15) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, "it did not come true in time"
            time.sleep(0.05)

    return wait


@pytest.fixture(scope="session")
def alive() -> Callable[[int], bool]:
    """Tell whether a process runs (a zombie does not)."""

    def runs(process_id: int) -> bool:
        try:
            return Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
        except (FileNotFoundError, ProcessLookupError):
            return False

    return runs
