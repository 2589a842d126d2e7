"""Which device a worker process computes on: one process a GPU, chosen by lock, or the CPU."""

import fcntl
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from sqlalchemy import Connection, Engine, func, select
from sqlalchemy.exc import DBAPIError

from registry.locks import AdvisoryLock
from registry.workers import DeviceMemory


@dataclass(slots=True)
class GpuLock:
    """Keeps other workers off a GPU until it is released, or its process ends.

    The database's lock reaches other containers, which do not see this one's files; the file's outlives a restart of
    the database.
    """

    uuid: str
    file: IO[str]
    engine: Engine | None
    session: Connection | None

    def keep(self) -> bool:
        """Take the database's lock again where a restart of the database let go of it; False where another has it now.

        SQLAlchemyError while the database does not answer: ask again later.
        """
        if self.session is None or self.engine is None:
            return True
        try:
            self.session.execute(select(1))
        except DBAPIError:
            # it lies on the broken connection, which cannot be given back
            self.session.invalidate()
            self.session.close()
            again = _lock_in_database(self.uuid, self.engine)
            if again is None:
                return False
            self.session = again
        return True

    def release(self) -> None:
        """Let another worker have it."""
        if self.session is not None:
            self.session.close()
        self.file.close()


@dataclass(frozen=True, slots=True)
class Device:
    """A torch device and what people call it."""

    torch_name: str
    label: str
    lock: GpuLock | None = None


def choose_device(wanted: str, engine: Engine | None = None) -> Device:
    """The device that `wanted` names (auto, cpu, cuda or cuda:N).

    `auto` takes the first GPU that no other worker of the database (or, without one, of this machine) holds, and the
    CPU where there is none. RuntimeError when a GPU was asked for by name and cannot be had.
    """
    import torch

    if wanted == "cpu" or (wanted == "auto" and not torch.cuda.is_available()):
        return Device("cpu", f"cpu ({torch.get_num_threads()} threads)")
    if not torch.cuda.is_available():
        raise RuntimeError(f"SAT_DEVICE is {wanted}, but torch sees no GPU: install a driver, or set SAT_DEVICE=cpu.")
    indices = [int(wanted.removeprefix("cuda:"))] if ":" in wanted else list(range(torch.cuda.device_count()))
    for index in indices:
        lock = take_gpu(str(torch.cuda.get_device_properties(index).uuid), engine)
        if lock is not None:
            return Device(f"cuda:{index}", torch.cuda.get_device_name(index), lock)
    raise RuntimeError(
        f"every GPU of {wanted} is held by another worker: start one worker process a GPU, or set SAT_DEVICE=cpu."
    )


def take_gpu(uuid: str, engine: Engine | None) -> GpuLock | None:
    """The GPU of that uuid for this process, or None where another one has it."""
    file = _lock_file(uuid)
    if file is None:
        return None
    if engine is None:
        return GpuLock(uuid, file, None, None)
    session = _lock_in_database(uuid, engine)
    if session is not None:
        return GpuLock(uuid, file, engine, session)
    file.close()
    return None


def memory_of(device: Device) -> DeviceMemory | None:
    """What the GPU holds, whoever uses it; None on a CPU."""
    if not device.torch_name.startswith("cuda"):
        return None
    import torch

    free, total = torch.cuda.mem_get_info(device.torch_name)
    return DeviceMemory(total=total, used=total - free)


def _lock_in_database(uuid: str, engine: Engine) -> Connection | None:
    """A session that holds the lock; None where another one does."""
    session = engine.connect().execution_options(isolation_level="AUTOCOMMIT")
    # a session of its own: the pool would end it, and with it the lock
    session.detach()
    if session.scalar(select(func.pg_try_advisory_lock(int(AdvisoryLock.GPU), func.hashtext(uuid)))):
        return session
    session.close()
    return None


def _lock_file(uuid: str) -> IO[str] | None:
    path = Path(tempfile.gettempdir()) / f"sat-registry-gpu-{uuid}.lock"
    try:
        file = path.open("w")
    except OSError:  # another user's
        return None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        return None
    return file
