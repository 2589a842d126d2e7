"""Bytes under their sha256, in a folder or S3-compatible storage, by obstore.

The row is written first (`writing`), then the bytes, then the row becomes `stored`: whatever is interrupted leaves
a row that `gc` can see, never bytes that nobody knows of. In a folder, the bytes are on the disk itself by then: what
was acknowledged outlasts the loss of power. Bytes are verified when a process first opens them, in a folder as from S3:
a disk that returned other bytes would otherwise become a wrong score.
"""

import contextlib
import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import obstore
from obstore.exceptions import BaseError
from obstore.store import LocalStore, ObjectStore

from registry.database import Sessions
from registry.errors import LostBytesError, StorageFullError, UnavailableError
from registry.settings import Settings
from registry.storage.disk import free_bytes, full_disk_refused, is_full, require_free, sync
from registry.storage.eviction import evict
from registry.storage.local_cache import LocalCache
from registry.storage.quota import confirm, release, reserve
from registry.storage.remote import open_remote

CHUNK = 1 << 20
SPOOL_SECONDS = 24 * 3600.0
_PUT_ATTEMPTS = 3


@dataclass(frozen=True, slots=True)
class Artifact:
    """Bytes that are in the store."""

    sha256: bytes
    bytes: int


@dataclass(frozen=True, kw_only=True, slots=True)
class StoreLimits:
    """What a store may take, in bytes; None: as much as there is."""

    quota: int | None = None
    adversarial: int | None = None
    cache: int | None = None
    min_free: int = 0


def hash_file(path: Path) -> Artifact:
    """The sha256 and size of a file, read in bounded memory."""
    digest, size = hashlib.sha256(), 0
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
            size += len(chunk)
    return Artifact(digest.digest(), size)


def open_store(settings: Settings) -> "ArtifactStore":
    """The store that the settings name, within their limits."""
    limits = StoreLimits(
        quota=settings.artifacts_quota_bytes,
        adversarial=settings.adversarial_bytes,
        cache=settings.cache_bytes,
        min_free=settings.min_free_bytes,
    )
    return ArtifactStore(settings.artifacts, settings.cache, limits)


class ArtifactStore:
    """Content-addressed bytes. Local folders are read in place; remote objects are copied to the cache once."""

    def __init__(self, url: str, cache: Path, limits: StoreLimits = StoreLimits()) -> None:
        self.limits = limits
        self._cache = cache
        self._folder: Path | None = None
        self._store: ObjectStore
        self._verified: dict[bytes, tuple[int, ...]] = {}
        cache.mkdir(parents=True, exist_ok=True)
        if "://" in url:
            self._store = open_remote(url)
        else:
            self._folder = Path(url).resolve()
            self._folder.mkdir(parents=True, exist_ok=True)
            self._store = LocalStore(self._folder)
        self._copies = LocalCache(cache / "copies", limits.cache)
        self.sweep_spool(SPOOL_SECONDS)

    @property
    def spool(self) -> Path:
        """A folder for files that are still being written; on the same disk as the store where that is local."""
        spool = (self._folder / "spool") if self._folder else (self._cache / "spool")
        spool.mkdir(parents=True, exist_ok=True)
        return spool

    def require_room(self, needed: int, sessions: Sessions) -> None:
        """StorageFullError where so many bytes cannot be taken now: before they are sent, or computed."""
        short = needed + self.limits.min_free - free_bytes(self.spool)
        # only in a folder do images lie on the disk that is short
        if short > 0 and self._folder is not None:
            evict(sessions, self.remove, short)
        require_free(self.spool, needed, self.limits.min_free)

    def put_file(self, path: Path, kind: str, sessions: Sessions) -> Artifact:
        """Store a file's bytes under their sha256 and return both. Storing what is already there costs no write.

        StorageFullError beyond the quota, when adversarial images that nothing waits for make not enough room.
        """
        artifact = hash_file(path)
        for _ in range(_PUT_ATTEMPTS):
            is_new = self._reserve(artifact, kind, sessions)
            try:
                if self._holds_right(artifact):
                    # whoever wrote it may have been killed before this
                    self._make_last(artifact)
                else:
                    self.require_room(artifact.bytes, sessions)
                    self._write(path, artifact)
            except UnavailableError:
                if is_new:
                    release(sessions, artifact.sha256)
                raise
            if confirm(sessions, artifact.sha256):
                return artifact
            # it took so long that `gc` gave the upload up: the bytes may be gone again
        raise UnavailableError("the artifact was collected while it was stored, again and again: try again later.")

    def holds(self, artifact: Artifact) -> bool:
        """Whether the bytes are there, in full length."""
        try:
            return bool(obstore.head(self._store, _key(artifact.sha256))["size"] == artifact.bytes)
        except FileNotFoundError:
            return False
        except BaseError as error:
            raise UnavailableError(_away(error)) from error

    def open_local(self, sha256: bytes) -> Path:
        """A local path to the bytes, which are verified when this process first opens them.

        A remote object is copied into the cache. LostBytesError when the bytes are missing or are not what their
        name says, UnavailableError when the store does not answer.
        """
        if self._folder is not None:
            path = self._folder / _key(sha256)
            if not path.exists():
                raise LostBytesError(_missing(sha256))
            if not self._is_right(sha256, path):
                raise LostBytesError(_wrong(sha256))
            return path
        copy = self._copies.find(sha256)
        if copy is not None and self._is_right(sha256, copy):
            return copy
        return self._fetch(sha256)

    def remove(self, sha256: bytes) -> None:
        """Delete the bytes, if they are there; UnavailableError when the store does not answer."""
        self._verified.pop(sha256, None)
        self._copies.discard(sha256)
        try:
            # S3 takes the deletion of nothing for done, a folder says that there is nothing
            with contextlib.suppress(FileNotFoundError):
                obstore.delete(self._store, _key(sha256))
        except BaseError as error:
            raise UnavailableError(_away(error)) from error

    def stored_objects(self) -> Iterator[tuple[str, int, float]]:
        """Key, size and time of change (seconds since 1970) of all that lies in the store, the spool aside."""
        try:
            for batch in obstore.list(self._store):
                for entry in batch:
                    if not entry["path"].startswith("spool/"):
                        yield entry["path"], entry["size"], entry["last_modified"].timestamp()
        except BaseError as error:
            raise UnavailableError(_away(error)) from error

    def verify(self, sha256: bytes) -> None:
        """Read the bytes where they lie, the cache aside; LostBytesError when they are missing or wrong."""
        self._verified.pop(sha256, None)
        if self._folder is None:
            self._copies.discard(sha256)
        self.open_local(sha256)

    def unfinished(self, older_than_seconds: float) -> list[Path]:
        """What killed processes left in the spool, or beside the objects of a folder, so long ago."""
        # obstore writes to <name>#<number> and renames
        left = (*self.spool.iterdir(), *(self._folder.glob("??/*#*") if self._folder else ()))
        return [path for path in left if _is_older(path, older_than_seconds)]

    def sweep_spool(self, older_than_seconds: float) -> int:
        """Remove what is unfinished since then; how many files and folders that were."""
        unfinished = self.unfinished(older_than_seconds)
        for path in unfinished:
            with contextlib.suppress(OSError):
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        return len(unfinished)

    def _reserve(self, artifact: Artifact, kind: str, sessions: Sessions) -> bool:
        try:
            return reserve(sessions, artifact.sha256, artifact.bytes, kind, self.limits.quota)
        except StorageFullError as full:
            if not evict(sessions, self.remove, artifact.bytes):
                raise full from None
            return reserve(sessions, artifact.sha256, artifact.bytes, kind, self.limits.quota)

    def _holds_right(self, artifact: Artifact) -> bool:
        """Whether the bytes are there; in a folder also that they are right, so that an upload mends wrong ones."""
        if not self.holds(artifact):
            return False
        return self._folder is None or self._is_right(artifact.sha256, self._folder / _key(artifact.sha256))

    def _is_right(self, sha256: bytes, path: Path) -> bool:
        """Whether the file has that hash; read once a process, unless the file was replaced since."""
        try:
            status = path.stat()
            stamp = (status.st_ino, status.st_size, status.st_mtime_ns)
            if self._verified.get(sha256) != stamp:
                if hash_file(path).sha256 != sha256:
                    return False
                self._verified[sha256] = stamp
        except FileNotFoundError:
            return False
        return True

    def _write(self, path: Path, artifact: Artifact) -> None:
        try:
            with path.open("rb") as file:
                # LocalStore writes to a temporary name and renames, S3 commits whole objects: both atomic
                # 4 parts of 5 MB at a time: the default of 12 takes 80 MB of the api's memory
                obstore.put(self._store, _key(artifact.sha256), file, max_concurrency=4)
            try:
                self._make_last(artifact)
            except UnavailableError:
                self.remove(artifact.sha256)  # the system may take its pages for written from now on
                raise
        except (OSError, BaseError) as error:
            with full_disk_refused():
                if is_full(error):
                    raise
            raise UnavailableError(
                f"the artifact store took no more bytes: {_first_line(error)}. Try again."
            ) from error

    def _make_last(self, artifact: Artifact) -> None:
        """Have a folder's bytes and their name on the disk: LocalStore renames without it, S3 answers after it."""
        if self._folder is None:
            return
        path = self._folder / _key(artifact.sha256)
        try:
            with full_disk_refused():
                for each in (path, path.parent, self._folder):
                    sync(each)
        except OSError as error:
            raise UnavailableError(f"the artifact store took no more bytes: {error}. Try again.") from error

    def _fetch(self, sha256: bytes) -> Path:
        try:
            size = obstore.head(self._store, _key(sha256))["size"]
            self._copies.trim(size)
            require_free(self.spool, size, self.limits.min_free)
            handle, name = tempfile.mkstemp(dir=self.spool)
            part = Path(name)
            try:
                digest = hashlib.sha256()
                with full_disk_refused(), os.fdopen(handle, "wb") as file:
                    for chunk in obstore.get(self._store, _key(sha256)).stream(min_chunk_size=CHUNK):
                        digest.update(chunk)
                        file.write(chunk)
                if digest.digest() != sha256:
                    raise LostBytesError(_wrong(sha256))
                copy = self._copies.admit(part, sha256)
            finally:
                part.unlink(missing_ok=True)
        except FileNotFoundError as error:
            raise LostBytesError(_missing(sha256)) from error
        except (OSError, BaseError) as error:
            raise UnavailableError(_away(error)) from error
        status = copy.stat()
        self._verified[sha256] = (status.st_ino, status.st_size, status.st_mtime_ns)
        return copy


def write_artifact(store: ArtifactStore, sessions: Sessions, kind: str, write: Callable[[Path], object]) -> Artifact:
    """Have `write` fill a file in the spool, store it, and remove the file."""
    folder: Path | None = None
    try:
        with full_disk_refused():
            folder = Path(tempfile.mkdtemp(dir=store.spool))
            path = folder / kind
            write(path)
        return store.put_file(path, kind, sessions)
    finally:
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)


def _is_older(path: Path, age_seconds: float) -> bool:
    try:
        return time.time() - path.stat().st_mtime > age_seconds
    except OSError:  # its own process has just removed it
        return False


def _key(sha256: bytes) -> str:
    name = sha256.hex()
    return f"{name[:2]}/{name}"


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]


def _away(error: Exception) -> str:
    return f"the artifact store does not answer ({_first_line(error)}): check SAT_ARTIFACTS and try again."


def _missing(sha256: bytes) -> str:
    return f"artifact {sha256.hex()[:12]} is missing from the store: restore it from a backup, or register again."


def _wrong(sha256: bytes) -> str:
    return (
        f"artifact {sha256.hex()[:12]} does not match its hash: restore it from a backup, or delete the file and "
        "register again."
    )
