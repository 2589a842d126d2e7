"""What kind of checkpoint a file is, by its first bytes; nothing of it is parsed or run."""

from enum import StrEnum
from pathlib import Path

# torch.save before 1.6 wrote pickles, of which the first is this number (little-endian)
_LEGACY_MAGIC = bytes.fromhex("6cfc9c46f9206aa85019")
_PICKLE = b"\x80"
_ZIP = b"PK\x03\x04"
_ZIP_NAME_LENGTH, _ZIP_NAME = slice(26, 28), 30  # of the first file in an archive: where torch.save puts data.pkl
_START_BYTES = 512


class CheckpointFormat(StrEnum):
    """How a checkpoint's tensors are written down."""

    PYTORCH = "pytorch"  # torch.save: a zip archive or, before 1.6, pickles; must be converted before it is read
    PICKLE = "pickle"  # another pickle: refused
    ARCHIVE = "archive"  # another zip archive: refused
    OTHER = "other"  # safetensors, or nothing that is known: its header tells


def format_of(path: Path) -> CheckpointFormat:
    """Return the format that the file's first 512 bytes show."""
    with path.open("rb") as file:
        start = file.read(_START_BYTES)
    if start.startswith(_ZIP):
        length = int.from_bytes(start[_ZIP_NAME_LENGTH], "little")
        name = start[_ZIP_NAME : _ZIP_NAME + length]
        return CheckpointFormat.PYTORCH if name.endswith(b"data.pkl") else CheckpointFormat.ARCHIVE
    if start.startswith(_PICKLE) and start[1:2] in b"\x02\x03\x04\x05":
        return CheckpointFormat.PYTORCH if _LEGACY_MAGIC in start[:32] else CheckpointFormat.PICKLE
    return CheckpointFormat.OTHER
