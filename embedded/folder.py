"""The data folder of one stack: its lock, and the file that tells where the stack answers."""

import fcntl
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

import platformdirs

from embedded.errors import EmbeddedError

STACK_FILE = "stack.json"  # client/ reads it too


@dataclass(frozen=True)
class Running:
    """A stack that runs: where its api answers, and its supervisor's process id."""

    url: str
    pid: int


def data_folder() -> Path:
    """Return SAT_HOME, or the user's data folder where that is not set."""
    return Path(os.environ.get("SAT_HOME") or platformdirs.user_data_dir("sat-registry")).expanduser().absolute()


def make_data_folder(home: Path) -> None:
    """Make the folder with its logs; EmbeddedError when it cannot be written."""
    try:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        (home / "logs").mkdir(exist_ok=True)
    except OSError as error:
        raise EmbeddedError(
            f"The data folder {home} cannot be made ({error.strerror}): set SAT_HOME to a folder that you can write."
        ) from None
    if not os.access(home, os.W_OK | os.X_OK):
        raise EmbeddedError(f"The data folder {home} cannot be written: set SAT_HOME to a folder of your own.")


class FolderLock:
    """At most one supervisor a folder. The kernel drops the lock with the process that holds it, however it ends."""

    def __init__(self, home: Path) -> None:
        self._path = home / "lock"
        self._descriptor: int | None = None

    def acquire(self) -> bool:
        """Take the lock if it is free; tell whether it is ours now."""
        try:
            # never inherited by children (PEP 446), so an orphan cannot hold it
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise EmbeddedError(f"{self._path} cannot be opened ({error.strerror}): is the folder yours?") from None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return False
        self._descriptor = descriptor
        return True

    def release(self) -> None:
        """Give the lock back. The file stays: removing it would let two processes lock two files."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def announce(home: Path, running: Running) -> None:
    """Write where the stack answers, in one step: a reader sees the whole file or none."""
    new = home / f"{STACK_FILE}.new"
    new.write_text(json.dumps(asdict(running)) + "\n")
    new.replace(home / STACK_FILE)


def withdraw(home: Path) -> None:
    """Remove what announce wrote, or what a killed supervisor left of it."""
    (home / STACK_FILE).unlink(missing_ok=True)


def find_announced(home: Path) -> Running | None:
    """Return what the folder's stack announced, if anything. Believe it only while the lock is held."""
    try:
        return Running(**json.loads((home / STACK_FILE).read_text()))
    except FileNotFoundError:
        return None
