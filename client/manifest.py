"""A list of models to register, as a CSV file: read and checked whole before anything is sent."""

import csv
import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from client.errors import InputError

# The columns that name the weights; each row fills exactly one.
WEIGHTS = ("file", "pretrained", "source")


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """One row: the metadata of a registration, its file if it has one, and the line it stands on."""

    line: int
    metadata: Mapping[str, Any]
    file: Path | None

    @property
    def name(self) -> str:
        """The model's name."""
        return str(self.metadata["name"])

    def sha256(self) -> str | None:
        """The file's sha256, hexadecimal; None without a file."""
        if self.file is None:
            return None
        with self.file.open("rb") as opened:
            return hashlib.file_digest(opened, "sha256").hexdigest()


def read_manifest(path: Path, *, last_rung: int | None = None) -> list[Entry]:
    """Read all rows; files are relative to the manifest's folder. last_rung stands in for rows that name none.

    Raises:
        InputError: with the line, for whatever could not be registered as it stands.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as opened:
            rows = csv.DictReader(opened, restkey="", strict=True)
            _check_columns(path, list(rows.fieldnames or ()))
            entries = [_entry(path, rows.line_num, row, last_rung) for row in rows if any(row.values())]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path} cannot be read as CSV ({error}).") from error
    if not entries:
        raise InputError(f"{path} names no model: it needs a line of columns and a line a model.")
    _require_distinct(path, entries)
    return entries


def _list(text: str) -> list[str]:
    return [each.strip() for each in text.split(";") if each.strip()]


def _numbers(text: str) -> list[float]:
    return [float(each) for each in text.replace(";", " ").split()]


def _json(text: str) -> dict[str, Any]:
    value = json.loads(text)
    if not isinstance(value, dict):
        raise ValueError(  # noqa: TRY004  all that a reader finds wrong is one kind of error
            'needs a JSON object, such as {"img_size": 32}'
        )
    return value


def _rung(text: str) -> int:
    if text not in {"0", "1"}:
        raise ValueError("is 0 or 1")
    return int(text)


READERS: Mapping[str, Callable[[str], Any]] = {
    "name": str,
    "architecture": str,
    "file": str,
    "pretrained": str,
    "source": str,
    "task": str,
    "classes": str,
    "model_args": _json,
    "size": int,
    "mean": _numbers,
    "std": _numbers,
    "weights": str,
    "tags": _list,
    "description": str,
    "license": str,
    "expected_accuracy": float,
    "supersedes": str,
    "last_rung": _rung,
}


def _check_columns(path: Path, columns: list[str]) -> None:
    unknown = [each for each in columns if each not in READERS]
    missing = [each for each in ("name", "architecture") if each not in columns]
    if unknown or missing:
        what = f"does not know the column {unknown[0]!r}" if unknown else f"lacks the column {missing[0]!r}"
        raise InputError(f"{path} line 1 {what}. Columns: {', '.join(READERS)}.")


def _entry(path: Path, line: int, row: Mapping[str, Any], last_rung: int | None) -> Entry:
    where = f"{path} line {line}"
    if "" in row or None in row.values():
        raise InputError(f"{where} has not as many fields as line 1 has columns: quote fields that hold commas.")
    values: dict[str, Any] = {}
    for column, text in row.items():
        if text.strip():
            try:
                values[column] = READERS[column](text.strip())
            except ValueError as error:
                raise InputError(f"{where}, {column}: {text.strip()!r} cannot be used ({error}).") from None
    for column in ("name", "architecture"):
        if column not in values:
            raise InputError(f"{where} has no {column}.")
    if sum(column in values for column in WEIGHTS) != 1:
        raise InputError(f"{where} needs exactly one of {', '.join(WEIGHTS)}.")
    file = _file(where, path.parent / values.pop("file")) if "file" in values else None
    if "classes" in values:
        values["classes"] = _lines(where, path.parent / values["classes"])
    _nest_input(where, values)
    if last_rung is not None:
        values.setdefault("last_rung", last_rung)
    return Entry(line=line, metadata=values, file=file)


def _nest_input(where: str, values: dict[str, Any]) -> None:
    fed = {column: values.pop(column) for column in ("size", "mean", "std") if column in values}
    if fed and len(fed) < 3:  # noqa: PLR2004  size, mean and std
        raise InputError(f"{where} needs size, mean and std together, or none of them: the catalogue's are taken.")
    if fed:
        values["input"] = fed | {"channels": len(fed["mean"])}


def _file(where: str, file: Path) -> Path:
    if not file.is_file():
        raise InputError(f"{where}: there is no file {file}.")
    return file


def _lines(where: str, file: Path) -> list[str]:
    try:
        names = [line.strip() for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{where}: the class names {file} cannot be read ({error}).") from error
    if not names:
        raise InputError(f"{where}: {file} is empty; it needs a class name a line.")
    return names


def _require_distinct(path: Path, entries: list[Entry]) -> None:
    lines: dict[str, int] = {}
    for entry in entries:
        first = lines.setdefault(entry.name, entry.line)
        if first != entry.line:
            raise InputError(f"{path} line {entry.line} names {entry.name!r} again, as line {first} does.")
