"""Large answers in files: rendered once a snapshot, sent while they are written, shared by all who ask meanwhile."""

import logging
import os
import tempfile
import threading
import weakref
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import NamedTuple

import anyio
from fastapi.concurrency import run_in_threadpool

CHUNK_BYTES = 256 * 1024
WAIT_SECONDS = 0.02
# of one comparison in four formats; an older one stays until its last reader has it
KEPT = 8

_log = logging.getLogger(__name__)
Write = Callable[[bytes], None]


class Rendered(NamedTuple):
    """What a rendering is of. serial: of the snapshot; what: everything else that it depends on."""

    serial: int
    what: tuple[str, ...]


class Rendering:
    """One answer in a file without a name, which the system frees with the last reference to it."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._file = tempfile.TemporaryFile(  # noqa: SIM115  open as long as somebody may read it
            dir=folder, prefix="rendering-", buffering=0
        )
        weakref.finalize(self, self._file.close)
        self._size = 0
        self._ended = False
        self._fault: Exception | None = None

    def render(self, make: Callable[[Write], None]) -> None:
        """Write everything that `make` gives; readers get it as it comes."""
        try:
            make(self._write)
        except Exception as error:  # noqa: BLE001  whatever it is, readers are waiting to hear of it
            _log.exception("a rendering failed")
            self._fault = error
        finally:
            self._ended = True

    @property
    def failed(self) -> bool:
        """Whether it broke off, so that all of its readers get half an answer."""
        return self._fault is not None

    async def read(self) -> AsyncIterator[bytes]:
        """Everything from the start, waiting for what is not written yet."""
        offset = 0
        while True:
            ended = self._ended  # before the size: nothing is written after it
            if offset < self._size:
                chunk = await run_in_threadpool(os.pread, self._file.fileno(), CHUNK_BYTES, offset)
                offset += len(chunk)
                yield chunk
            elif ended:
                break
            else:
                await anyio.sleep(WAIT_SECONDS)
        if self._fault is not None:
            # the connection breaks off: half an answer must not look whole
            raise RuntimeError("the rendering failed") from self._fault

    def _write(self, content: bytes) -> None:
        left = memoryview(content)
        while left:
            written = self._file.write(left) or 0  # a full disk may take a part of it
            left = left[written:]
            self._size += written


class Renderings:
    """The newest renderings. For one thread: the event loop's."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._kept: dict[Rendered, Rendering] = {}

    async def get(self, of: Rendered, make: Callable[[Write], None]) -> Rendering:
        """The rendering; whoever asks first has it made, in a thread of its own."""
        kept = self._kept.pop(of, None)
        if kept is None or kept.failed:  # what broke it (a full disk) may have passed
            kept = Rendering(self._folder)
            # not in the pool: a long one would hold up short answers
            threading.Thread(target=kept.render, args=(make,), name="rendering", daemon=True).start()
        self._kept[of] = kept
        for older in [each for each in self._kept if each.what == of.what and each.serial < of.serial]:
            del self._kept[older]
        while len(self._kept) > KEPT:
            del self._kept[next(iter(self._kept))]
        return kept
