"""The API key to send: SAT_KEY, or a file that nobody else can read (SAT_KEY_FILE)."""

import os
import stat
from pathlib import Path

from client.errors import InputError

KEY, KEY_FILE = "SAT_KEY", "SAT_KEY_FILE"


def find_key() -> str | None:
    """Return the key of the environment; None where none is set.

    Raises:
        InputError: the file cannot be read, others can read it, or what it holds is no key.
    """
    named = os.environ.get(KEY_FILE)
    key = os.environ.get(KEY) or (_read(Path(named).expanduser()) if named else "")
    if not key:
        return None
    if not (key.isascii() and key.isprintable()) or " " in key:
        raise InputError(f"{KEY if os.environ.get(KEY) else named} holds no key: a key is one word, sat_….")
    return key


def write_key(key: str, file: Path) -> None:
    """Write the key into a new file that only its owner can read; InputError where that cannot be."""
    try:
        with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as opened:
            opened.write(key + "\n")
    except OSError as error:
        raise InputError(f"{file} cannot be made ({error.strerror}): name a new file.") from None


def _read(file: Path) -> str:
    try:
        with file.open(encoding="utf-8") as opened:
            if os.fstat(opened.fileno()).st_mode & (stat.S_IRWXG | stat.S_IRWXO):
                raise InputError(f"Others can read the key in {file}: run `chmod 600 {file}`.")
            return opened.read().strip()
    except OSError as error:
        raise InputError(f"The key file {file} cannot be read ({error.strerror}).") from None
    except UnicodeDecodeError:
        raise InputError(f"{file} holds no key: a key is one word, sat_….") from None
