"""A short private folder for unix sockets.

A socket's path may have about 107 bytes, a data folder's may have thousands: sockets live elsewhere.
"""

import os
import re
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

from embedded.errors import EmbeddedError

_PREFIX = "sat-"
# safe unquoted in PostgreSQL's list settings, in URLs and in kombu's addresses
_SAFE = re.compile(r"[A-Za-z0-9/._-]{1,60}")


def _roots() -> list[Path]:
    candidates = (Path("/tmp"), Path("/var/tmp"), Path("/dev/shm"), Path(tempfile.gettempdir()))  # noqa: S108 (mkdtemp below makes a private folder)
    return [root for root in candidates if _SAFE.fullmatch(str(root)) and os.access(root, os.W_OK | os.X_OK)]


def make_socket_folder() -> Path:
    """Return a new folder of mode 0700 whose path is short and plain; EmbeddedError when none can be made."""
    for root in _roots():
        with suppress(OSError):
            return Path(tempfile.mkdtemp(prefix=_PREFIX, dir=root))
    raise EmbeddedError(
        "No folder for sockets: /tmp, /var/tmp and TMPDIR cannot be written. Make one of them writable."
    )


def renew_socket_folder(link: Path) -> Path:
    """Return a new socket folder, remembered in the symbolic link; the one it named before is removed.

    The caller holds the data folder's lock, so nobody uses the old one.
    """
    remove_socket_folder(link)
    folder = make_socket_folder()
    link.symlink_to(folder)
    return folder


def remove_socket_folder(link: Path) -> None:
    """Remove the link and the socket folder that it names, if that still is one of ours."""
    if not link.is_symlink():
        return
    folder = link.readlink()
    if folder.name.startswith(_PREFIX) and folder.parent in _roots() and _is_own(folder):
        shutil.rmtree(folder, ignore_errors=True)
    link.unlink()


def _is_own(folder: Path) -> bool:
    with suppress(OSError):
        # lstat: somebody else may have put a link of the same name there meanwhile
        return folder.lstat().st_uid == os.geteuid() and folder.is_dir() and not folder.is_symlink()
    return False
