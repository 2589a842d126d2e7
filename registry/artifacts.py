"""Bytes under their sha256, in a folder or S3-compatible storage, by obstore.

The row is written first (`writing`), then the bytes, then the row becomes `stored`: whatever is interrupted leaves
a row that `gc` can see, never bytes that nobody knows of.
"""

import contextlib
import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import obstore
from obstore.exceptions import BaseError
from obstore.store import LocalStore, ObjectStore, from_url
from sqlalchemy import func
from sqlalchemy.dialects.postgresql import insert

from registry.database import Sessions
from registry.errors import UnavailableError
from registry.tables import ArtifactRow, ArtifactState

CHUNK = 1 << 20
SPOOL_SECONDS = 24 * 3600.0


@dataclass(frozen=True, slots=True)
class Artifact:
    """Bytes that are in the store."""

    sha256: bytes
    bytes: int


def hash_file(path: Path) -> Artifact:
    """The sha256 and size of a file, read in bounded memory."""
    digest, size = hashlib.sha256(), 0
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
            size += len(chunk)
    return Artifact(digest.digest(), size)


class ArtifactStore:
    """Content-addressed bytes. Local folders are read in place; remote objects are copied to the cache once."""

    def __init__(self, url: str, cache: Path) -> None:
        self._cache = cache
        self._folder: Path | None = None
        self._store: ObjectStore
        cache.mkdir(parents=True, exist_ok=True)
        if "://" in url:
            self._store = from_url(url)
        else:
            self._folder = Path(url).resolve()
            self._folder.mkdir(parents=True, exist_ok=True)
            self._store = LocalStore(self._folder)
        self._sweep_spool()

    @property
    def spool(self) -> Path:
        """A folder for files that are still being written; on the same disk as the store where that is local."""
        spool = (self._folder / "spool") if self._folder else (self._cache / "spool")
        spool.mkdir(parents=True, exist_ok=True)
        return spool

    def put_file(self, path: Path, kind: str, sessions: Sessions) -> Artifact:
        """Store a file's bytes under their sha256 and return both. Storing what is already there costs no write."""
        artifact = hash_file(path)
        with sessions.begin() as session:
            row = insert(ArtifactRow).values(
                sha256=artifact.sha256, kind=kind, bytes=artifact.bytes, state=ArtifactState.WRITING
            )
            session.execute(
                row.on_conflict_do_update(index_elements=[ArtifactRow.sha256], set_={"touched_at": func.now()})
            )
        if not self.holds(artifact):
            self._write(path, artifact)
        with sessions.begin() as session:
            stored = session.get_one(ArtifactRow, artifact.sha256, with_for_update=True)
            stored.state = ArtifactState.STORED
        return artifact

    def holds(self, artifact: Artifact) -> bool:
        """Whether the bytes are there, in full length."""
        try:
            return bool(obstore.head(self._store, _key(artifact.sha256))["size"] == artifact.bytes)
        except FileNotFoundError:
            return False
        except BaseError as error:
            raise UnavailableError(_away(error)) from error

    def open_local(self, sha256: bytes) -> Path:
        """A local path to the bytes; a remote object is copied into the cache and verified.

        Raises UnavailableError when the bytes are missing or are not what their name says.
        """
        if self._folder is not None:
            path = self._folder / _key(sha256)
            if not path.exists():
                raise UnavailableError(_missing(sha256))
            return path
        path = self._cache / sha256.hex()
        if not path.exists():
            self._copy_to_cache(sha256, path)
        return path

    def _sweep_spool(self) -> None:
        """Remove what a killed process left in the spool a day ago or earlier."""
        for leftover in self.spool.iterdir():
            with contextlib.suppress(OSError):
                if time.time() - leftover.stat().st_mtime > SPOOL_SECONDS:
                    shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()

    def _write(self, path: Path, artifact: Artifact) -> None:
        try:
            with path.open("rb") as file:
                # LocalStore writes to a temporary name and renames, S3 commits whole objects: both atomic
                # 4 parts of 5 MB at a time: the default of 12 takes 80 MB of the api's memory
                obstore.put(self._store, _key(artifact.sha256), file, max_concurrency=4)
        except (OSError, BaseError) as error:
            raise UnavailableError(f"the artifact store took no more bytes: {error}. Free some space.") from error

    def _copy_to_cache(self, sha256: bytes, path: Path) -> None:
        handle, name = tempfile.mkstemp(dir=self.spool)
        part = Path(name)
        try:
            with os.fdopen(handle, "wb") as file:
                for chunk in obstore.get(self._store, _key(sha256)).stream(min_chunk_size=CHUNK):
                    file.write(chunk)
            if hash_file(part).sha256 != sha256:
                raise UnavailableError(f"artifact {sha256.hex()[:12]} does not match its hash: restore it.")
            part.replace(path)
        except FileNotFoundError as error:
            raise UnavailableError(_missing(sha256)) from error
        except (OSError, BaseError) as error:
            raise UnavailableError(_away(error)) from error
        finally:
            part.unlink(missing_ok=True)


def write_artifact(store: ArtifactStore, sessions: Sessions, kind: str, write: Callable[[Path], object]) -> Artifact:
    """Have `write` fill a file in the spool, store it, and remove the file."""
    folder = Path(tempfile.mkdtemp(dir=store.spool))
    try:
        path = folder / kind
        write(path)
        return store.put_file(path, kind, sessions)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _key(sha256: bytes) -> str:
    name = sha256.hex()
    return f"{name[:2]}/{name}"


def _away(error: Exception) -> str:
    return f"the artifact store does not answer ({str(error).splitlines()[0]}): check SAT_ARTIFACTS and try again."


def _missing(sha256: bytes) -> str:
    return f"artifact {sha256.hex()[:12]} is missing from the store: restore it from a backup, or register again."
