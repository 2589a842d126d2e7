"""Files that an operator has laid out for registering: keys below named folders (SAT_SOURCES), and nothing else.

Every folder on the way and the file itself are opened without following links, one from the other: no key, and no
link that somebody makes at the same time, leads out of the root.
"""

import errno
import os
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import BinaryIO

from registry.errors import InvalidError, NotFoundError, TooLargeError

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# not waiting: a named pipe would have nobody at its other end
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
CHUNK = 1 << 20


def copy_source(
    roots: Mapping[str, Path], key: str, to: BinaryIO, limit: int, take: Callable[[int], object] = lambda _: None
) -> None:
    """Write the bytes of the file that the key names to `to`; take is called with the size of each piece before.

    key: `<root>/<path>` as the operator named the root. InvalidError for what is no such key or no plain file,
    NotFoundError where there is none, TooLargeError beyond `limit` bytes.
    """
    with open_source(roots, key) as source:
        size = 0
        while chunk := source.read(CHUNK):
            size += len(chunk)
            if size > limit:
                raise TooLargeError(
                    f"the file is larger than the {limit} bytes that this server takes: its operator sets "
                    "SAT_MAX_UPLOAD_BYTES."
                )
            take(len(chunk))
            to.write(chunk)


@contextmanager
def open_source(roots: Mapping[str, Path], key: str) -> Iterator[BinaryIO]:
    """The open file that the key names; errors as `copy_source`."""
    name, *parts = key.split("/")
    if not roots:
        raise InvalidError("this server takes no `source`: its operator sets SAT_SOURCES, or you upload the file.")
    if name not in roots:
        raise InvalidError(f"there is no root {name!r}: begin `source` with one of {', '.join(sorted(roots))}.")
    if not parts or any(part in {"", ".", ".."} or "\\" in part or "\0" in part for part in parts):
        raise InvalidError("`source` is `<root>/<path>`, its parts divided by single slashes, without `.` and `..`.")
    with ExitStack() as stack:
        try:
            folder = os.open(roots[name], os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            for part in parts[:-1]:
                stack.callback(os.close, folder)
                folder = os.open(part, _FOLDER, dir_fd=folder)
            stack.callback(os.close, folder)
            file = os.open(parts[-1], _FILE, dir_fd=folder)
        except OSError as error:
            raise _refused(key, error) from error
        stack.callback(os.close, file)
        if not stat.S_ISREG(os.fstat(file).st_mode):
            raise InvalidError(f"{key!r} is no plain file: name a .safetensors or .pth file.")
        yield stack.enter_context(os.fdopen(file, "rb", closefd=False))


def _refused(key: str, error: OSError) -> InvalidError | NotFoundError:
    if error.errno in {errno.ELOOP, errno.ENOTDIR, errno.ENXIO}:
        return InvalidError(f"{key!r} leads over a link or something that is no folder: name the file itself.")
    if error.errno == errno.ENOENT:
        return NotFoundError(f"there is no file {key!r} below the operator's roots: check its path.")
    return InvalidError(f"{key!r} cannot be read here ({error.strerror}): its operator has to look at its permissions.")
