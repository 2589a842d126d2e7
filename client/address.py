"""Where the registry is: an option, SAT_URL, or what the running one-machine stack wrote."""

import json
import os
from pathlib import Path
from urllib.parse import urlsplit

from client.errors import InputError, UnreachableError

LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
HOW = "Start one with `sat serve`, or name one with --url or SAT_URL."


def home(folder: Path | None = None) -> Path:
    """Return the data folder: the one given, else SAT_HOME, else the user's data folder."""
    if folder is not None:
        return folder
    if named := os.environ.get("SAT_HOME"):
        return Path(named).expanduser()
    import platformdirs

    return Path(platformdirs.user_data_dir("sat-registry"))


def find_url(option: str | None) -> str:
    """Return the registry's URL without a trailing slash.

    Raises:
        InputError: the URL has no http or https in front.
        UnreachableError: none was given and no stack has written its own.
    """
    url = option or os.environ.get("SAT_URL") or _of_running_stack()
    if not url.startswith(("http://", "https://")):
        raise InputError(f"The URL {url!r} needs http:// or https:// in front.")
    return url.rstrip("/")


def is_exposed(url: str) -> bool:
    """Return whether what is sent to the URL can be read on its way: plain HTTP to another machine."""
    parts = urlsplit(url)
    return parts.scheme == "http" and parts.hostname not in LOOPBACK


def _of_running_stack() -> str:
    record = home() / "stack.json"
    try:
        url = json.loads(record.read_text(encoding="utf-8"))["url"]
    except (OSError, ValueError, KeyError, TypeError):
        raise UnreachableError(f"No registry runs on {home()} and no URL was given. {HOW}") from None
    return str(url)
