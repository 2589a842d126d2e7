"""Disks: full ones are refused with a sentence, before and while bytes are written; what is written is made to last."""

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from registry.errors import StorageFullError

MEBIBYTE = 1 << 20
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
# libraries written in Rust put the system's error into their message
_FULL_WORDS = tuple(f"os error {number})" for number in _FULL)


def free_bytes(folder: Path) -> int:
    """What a user may still write to the disk that holds the folder."""
    return shutil.disk_usage(folder).free


def require_free(folder: Path, needed: int, reserve: int) -> None:
    """StorageFullError unless the folder's disk takes `needed` bytes and keeps `reserve` free."""
    free = free_bytes(folder)
    if free - needed < reserve:
        raise StorageFullError(
            f"the disk of {folder.name!r} has {_mebibytes(free)} free, {_mebibytes(needed)} are to be written and "
            f"{_mebibytes(reserve)} must stay free (SAT_MIN_FREE_BYTES): its operator has to make room, with `sat gc` "
            "or a larger disk. Send it again then."
        )


def is_full(error: BaseException) -> bool:
    """Whether the error, from Python or from a library, says that a disk or a quota on it is used up."""
    if isinstance(error, OSError) and error.errno in _FULL:
        return True
    return any(words in str(error) for words in _FULL_WORDS)


@contextmanager
def full_disk_refused() -> Iterator[None]:
    """StorageFullError for whatever error says that the disk is full; others pass."""
    try:
        yield
    except StorageFullError:
        raise
    except Exception as error:
        if not is_full(error):
            raise
        raise StorageFullError(
            "the disk that holds SAT_ARTIFACTS or SAT_CACHE is full: its operator has to make room, with `sat gc` or "
            "a larger disk. Send it again then."
        ) from error


def _mebibytes(n_bytes: int) -> str:
    return f"{n_bytes / MEBIBYTE:,.0f} MiB"


def sync(path: Path) -> None:
    """Return when a file's content, or a folder's names, would outlast the loss of power."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
