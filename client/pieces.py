"""A large file in pieces: what arrived before a connection broke is not sent again."""

from pathlib import Path

from client.errors import ConflictError, UnreachableError
from client.plans import Exchanges, Pause, Plan, Tick

# Smaller files go in one form: sending them again costs less than a broken connection does once in a while.
RESUMABLE_BYTES = 256 * 2**20
PIECE_BYTES = 16 * 2**20
FAILURES = 10  # in a row, without a byte that arrived
PAUSE_SECONDS = 0.5


def send_in_pieces(exchanges: Exchanges, file: Path, tick: Tick | None) -> Plan[str]:
    """Send the file and return the upload's id, which POST /models takes.

    After a broken connection the registry is asked how much it has. UnreachableError when it does not answer, or
    nothing more arrives.
    """
    size = file.stat().st_size
    begun = yield from exchanges.answer("POST", "/uploads", json={"bytes": size})
    path, offset, failures = f"/uploads/{begun['id']}", 0, 0
    with file.open("rb") as source:
        while offset < size:
            source.seek(offset)
            headers = {"Upload-Offset": str(offset), "Content-Type": "application/octet-stream"}
            try:
                state = yield from exchanges.answer("PATCH", path, content=source.read(PIECE_BYTES), headers=headers)
            except (UnreachableError, ConflictError):
                # 409: another offset is due, or the registry has not noticed yet that the last piece broke off
                yield Pause(PAUSE_SECONDS)
                state = yield from exchanges.answer("GET", path)
                failures = failures + 1 if state["offset"] == offset else 0
                if failures > FAILURES:
                    raise
            if tick is not None:
                tick(state["offset"] - offset)
            offset = state["offset"]
    return str(begun["id"])
