"""Text that people keep in files."""

from pathlib import Path

from client.errors import InputError


def read_text(path: Path) -> str:
    """Return the file's text; InputError when it cannot be read as UTF-8."""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read ({error}).") from error
