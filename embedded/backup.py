"""Saving the registry of one machine into a folder, and bringing it back: the database's dump, and the store's files.

A backup may be made while the stack runs. Files are content-addressed and never change, so they are copied before
and after the dump: together they are what it refers to. (Adversarial images that are evicted meanwhile are made
again when they are needed.)
"""

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from embedded.errors import EmbeddedError
from embedded.folder import FolderLock, make_data_folder
from embedded.postgres import DATABASE, PORT, USER, Postgres
from embedded.processes import finish, running
from embedded.programs import artifacts_url
from embedded.sockets import remove_socket_folder, renew_socket_folder
from embedded.tenancy import wheel_programs
from registry.database import migration_head
from registry.storage.disk import sync

DUMP, FILES, MANIFEST = "database.dump", "artifacts", "backup.json"


@dataclass(frozen=True, kw_only=True)
class Backup:
    """What a backup says of itself; it is written last, so that its file stands for a whole backup."""

    made_at: str
    migration: str
    files: int
    bytes: int
    elsewhere: str | None  # the store's URL, when it is not a folder: its bytes are not in the backup


def back_up(home: Path, folder: Path, say: Callable[[str], None]) -> Backup:
    """Write a backup of the data folder into a new or empty folder.

    Raises:
        EmbeddedError: there is nothing to save, the folder is not empty, or the dump fails.
    """
    if not (home / "postgres").exists():
        raise EmbeddedError(f"There is no registry in {home}: set SAT_HOME to the data folder of one.")
    _require_empty(folder)
    store = artifacts_url(home)
    local = None if "://" in store else Path(store)
    with _database(home, say, join=True) as postgres:
        if local is not None:
            _copy_new(local, folder / FILES)
        _dump(postgres, folder / DUMP)
        files, n_bytes = _copy_new(local, folder / FILES) if local is not None else (0, 0)
    made = Backup(
        made_at=datetime.now(UTC).isoformat(timespec="seconds"),
        migration=migration_head(),
        files=files,
        bytes=n_bytes,
        elsewhere=None if local is not None else store,
    )
    # whoever reads the manifest may remove the original
    for each in (folder / DUMP, folder):
        sync(each)
    (folder / MANIFEST).write_text(json.dumps(asdict(made), indent=2) + "\n")
    for each in (folder / MANIFEST, folder):
        sync(each)
    return made


def bring_back(home: Path, folder: Path, say: Callable[[str], None]) -> Backup:
    """Make a data folder, which holds no registry yet, what it was when the backup was made.

    Raises:
        EmbeddedError: the backup is not whole, the data folder is in use or holds a registry, or the dump is refused.
    """
    made = _read(folder)
    make_data_folder(home)
    if (home / "postgres").exists():
        raise EmbeddedError(
            f"{home} holds a registry already: move it away first, or set SAT_HOME to another folder to restore into."
        )
    store = artifacts_url(home)
    if (made.elsewhere is None) == ("://" in store):
        raise EmbeddedError(
            "The backup is of a registry whose artifacts are in "
            + (f"{made.elsewhere}: set SAT_ARTIFACTS to that." if made.elsewhere else "a folder: unset SAT_ARTIFACTS.")
        )
    if made.elsewhere is None:
        _copy_new(folder / FILES, Path(store))
    try:
        with _database(home, say, join=False) as postgres:
            postgres.create_database()
            _load(postgres, folder / DUMP)
    except BaseException:
        # half a registry must not be taken for a whole one
        if (home / "postgres").exists():
            Postgres(home / "postgres", home).discard()
        raise
    return made


@contextmanager
def _database(home: Path, say: Callable[[str], None], *, join: bool) -> Iterator[Postgres]:
    """The folder's PostgreSQL: that of the stack that runs on it (join), else one for as long as the block lasts."""
    lock = FolderLock(home)
    if not lock.acquire():
        if not join:
            raise EmbeddedError(f"A stack runs on {home}: stop it first.")
        yield Postgres(home / "postgres", (home / "sockets").resolve(), say)
        return
    try:
        postgres = Postgres(home / "postgres", renew_socket_folder(home / "sockets"), say)
        with running(postgres.service(), home / "logs" / "postgres.log"):
            yield postgres
    finally:
        remove_socket_folder(home / "sockets")
        lock.release()


def _dump(postgres: Postgres, to: Path) -> None:
    # the file is the caller's own: the database holds the hashes of keys
    to.touch(mode=0o600)
    _run(postgres, "pg_dump", "--format=custom", f"--file={to}", DATABASE)


def _load(postgres: Postgres, dump: Path) -> None:
    _run(
        postgres, "pg_restore", "--no-owner", "--exit-on-error", "--single-transaction", f"--dbname={DATABASE}",
        str(dump),
    )  # fmt: skip


def _run(postgres: Postgres, program: str, *arguments: str) -> None:
    command = (str(wheel_programs() / program), f"--host={postgres.sockets}", f"--port={PORT}", f"--username={USER}")
    status, output = finish((*command, *arguments))
    if status != 0:
        raise EmbeddedError(f"{program} failed:\n{output.strip()}")


def _copy_new(source: Path, target: Path) -> tuple[int, int]:
    """Copy the store's files that are not there yet, to last; how many there are then, and their bytes."""
    count = n_bytes = 0
    renamed: set[Path] = set()
    for path in sorted(source.glob("??/*")):
        if "#" in path.name:  # still being written
            continue
        copy = target / path.parent.name / path.name
        if not copy.exists():
            copy.parent.mkdir(parents=True, exist_ok=True)
            part = copy.with_name(f"{copy.name}#backup")
            # collected or evicted meanwhile
            with suppress(FileNotFoundError):
                shutil.copyfile(path, part)
                sync(part)
                part.replace(copy)
                renamed |= {copy.parent, target}
        if copy.exists():
            count, n_bytes = count + 1, n_bytes + copy.stat().st_size
    for each in renamed:
        sync(each)
    return count, n_bytes


def _require_empty(folder: Path) -> None:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise EmbeddedError(f"{folder} is not empty: name a new folder for the backup.")
    except OSError as error:
        raise EmbeddedError(f"{folder} cannot be made or read ({error.strerror}): name another folder.") from None


def _read(folder: Path) -> Backup:
    try:
        return Backup(**json.loads((folder / MANIFEST).read_text()))
    except FileNotFoundError:
        raise EmbeddedError(
            f"{folder} holds no whole backup ({MANIFEST}, which is written last, is missing): name the folder that "
            "`sat backup` wrote."
        ) from None
    except (OSError, ValueError, TypeError) as error:
        raise EmbeddedError(f"{folder / MANIFEST} cannot be read ({error}): is it a backup of this program?") from None
