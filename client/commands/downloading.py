"""What `sat download` and `sat images download` share: a file that appears whole or not at all, and what is said."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from client.errors import InputError
from client.output import bar, print_json, say


def write_file(fetch: Callable[[Path, Any], object], path: Path, said: dict[str, str], *, as_json: bool) -> None:
    """Have `fetch(path, tick)` write the file behind a progress bar, and say so.

    said: what was downloaded, by what it is ({"model": name}).
    """
    (name,) = said.values()
    with bar(name, None, "bytes") as came:
        try:
            fetch(path, came)
        except OSError as error:
            raise InputError(f"{path} cannot be written ({error.strerror}).") from error
    if as_json:
        print_json({**said, "file": str(path), "bytes": path.stat().st_size})
    else:
        say(f"Written to {path}.")
