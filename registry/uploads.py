"""Large files that arrive in pieces: begun, continued from where they broke off, and registered by their id.

The bytes lie in the store's spool under the upload's id, and how many there are is what the file says: nothing is
counted twice. Whoever did not touch an upload for a day finds it gone.
"""

import fcntl
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from registry.access import Actor, require_owner
from registry.errors import ConflictError, InvalidError, NotFoundError, TooManyError
from registry.storage.artifacts import Artifact, ArtifactStore
from registry.tables import UploadRow

# What one team may have under way: more uploads than a machine sends at once, and a few of the largest files. Whoever
# begins uploads and sends nothing must not keep others from the disk.
MAX_OPEN, LARGEST_OPEN = 64, 4


def begin_upload(session: Session, store: ArtifactStore, total: int, *, actor: Actor, largest: int) -> UploadRow:
    """A new upload of so many bytes, and its empty file; largest: what a file may have.

    TooManyError where the actor's team has too much under way.
    """
    _require_few_open(session, total, actor, largest)
    row = UploadRow(id=secrets.token_urlsafe(32), owner=actor.team, bytes=total)
    session.add(row)
    session.flush()
    path_of(store, row).touch(mode=0o600, exist_ok=False)
    return row


def _require_few_open(session: Session, total: int, actor: Actor, largest: int) -> None:
    """Uploads of a team that begin at the same moment may all pass: there are few of those."""
    open_ones = UploadRow.sha256.is_(None) & (UploadRow.owner == actor.team)
    uploads, declared = session.execute(
        select(func.count(), func.coalesce(func.sum(UploadRow.bytes), 0)).where(open_ones)
    ).one()
    if uploads >= MAX_OPEN or declared + total > LARGEST_OPEN * largest:
        raise TooManyError(
            f"your team has {uploads} uploads of {int(declared):,} bytes under way; at most {MAX_OPEN} of "
            f"{LARGEST_OPEN * largest:,} bytes are taken at a time: finish them, or give some up with DELETE. Those "
            "that nobody touches for a day go by themselves."
        )


def get_upload(session: Session, upload_id: str, *, actor: Actor) -> UploadRow:
    """The upload; NotFoundError when there is none, or its file is on another host or gone."""
    row = session.get(UploadRow, upload_id)
    if row is None:
        raise NotFoundError("there is no such upload (any more): begin a new one with POST /uploads.")
    require_owner(actor, row.owner, "this upload")
    return row


def path_of(store: ArtifactStore, row: UploadRow) -> Path:
    """Where its bytes are collected."""
    return store.spool / f"resumable-{row.id}"


def offset_of(store: ArtifactStore, row: UploadRow) -> int:
    """How many of its bytes are there."""
    if row.sha256 is not None:
        return row.bytes
    try:
        return path_of(store, row).stat().st_size
    except FileNotFoundError:
        raise NotFoundError("the bytes of this upload are gone: begin a new one with POST /uploads.") from None


@contextmanager
def appending(store: ArtifactStore, row: UploadRow, offset: int) -> Iterator[BinaryIO]:
    """The file, opened for the bytes from `offset` on; ConflictError when others are due, or another request writes."""
    present = offset_of(store, row)
    if row.sha256 is not None:
        raise ConflictError("this upload is complete and registered already.", offset=present)
    with path_of(store, row).open("ab", buffering=0) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise ConflictError("another request is sending this upload: wait until it has ended.") from None
        present = file.tell()
        if offset != present:
            raise ConflictError(
                f"the next byte of this upload is number {present}, not {offset}: go on from there.", offset=present
            )
        yield file


def touch_upload(session: Session, row: UploadRow) -> None:
    """Keep it for another day."""
    session.merge(row).touched_at = func.now()


def stored_upload(row: UploadRow) -> Artifact | None:
    """The artifact that the upload became; None while it is not registered."""
    return Artifact(row.sha256, row.bytes) if row.sha256 is not None else None


def require_complete(store: ArtifactStore, row: UploadRow) -> Path:
    """The file; InvalidError while bytes are missing."""
    present = offset_of(store, row)
    if present != row.bytes:
        raise InvalidError(f"{row.bytes - present} bytes of this upload are still to come: send them first.")
    return path_of(store, row)


def settle_upload(session: Session, row: UploadRow, artifact: Artifact) -> None:
    """Note what the upload became; once that is committed, its file is not needed any more (`discard`)."""
    session.merge(row).sha256 = artifact.sha256


def drop_upload(session: Session, row: UploadRow) -> None:
    """Forget it; then `discard` its file."""
    session.delete(session.merge(row))


def discard(store: ArtifactStore, row: UploadRow) -> None:
    """Remove its file."""
    path_of(store, row).unlink(missing_ok=True)
