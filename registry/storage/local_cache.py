"""Copies of remote artifacts on a local disk, up to a number of bytes; several processes may share the folder."""

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

# A copy is opened right after it was asked for; those asked for so recently are not removed.
RECENT_SECONDS = 10.0


class _Copy(NamedTuple):
    used_at: float
    size: int
    path: Path


class LocalCache:
    """Files under their sha256. A file's access time is when it was last asked for, and decides which goes first.

    A copy that some process has mapped stays readable after it was removed. The limit may be exceeded by what was
    asked for in the last ten seconds.
    """

    def __init__(self, folder: Path, limit_bytes: int | None) -> None:
        self._folder = folder
        self._limit = limit_bytes
        folder.mkdir(parents=True, exist_ok=True)

    def find(self, sha256: bytes) -> Path | None:
        """The copy's path, noted as used now; None where there is none."""
        path = self._path(sha256)
        try:
            os.utime(path, ns=(time.time_ns(), path.stat().st_mtime_ns))
        except FileNotFoundError:
            return None
        return path

    def admit(self, part: Path, sha256: bytes) -> Path:
        """Move a whole, verified file in under its sha256; the least recently used make room."""
        path = self._path(sha256)
        part.replace(path)
        self.trim()
        return path

    def discard(self, sha256: bytes) -> None:
        """Remove a copy, if there is one."""
        self._path(sha256).unlink(missing_ok=True)

    def trim(self, incoming: int = 0) -> None:
        """Remove the least recently used copies until `incoming` more bytes fit."""
        if self._limit is None:
            return
        with self._alone():
            copies = sorted(self._copies())
            excess = sum(copy.size for copy in copies) + incoming - self._limit
            for copy in copies:
                if excess <= 0 or copy.used_at > time.time() - RECENT_SECONDS:
                    return
                copy.path.unlink(missing_ok=True)
                excess -= copy.size

    def _copies(self) -> Iterator[_Copy]:
        for path in self._folder.iterdir():
            # another process may discard it meanwhile
            with contextlib.suppress(FileNotFoundError):
                status = path.stat()
                yield _Copy(status.st_atime, status.st_size, path)

    def _path(self, sha256: bytes) -> Path:
        return self._folder / sha256.hex()

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """One process at a time counts and removes: two at once would remove twice what is needed."""
        with self._folder.with_suffix(".lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
