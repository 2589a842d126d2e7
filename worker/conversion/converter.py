"""PyTorch checkpoints (.pth) to safetensors, in a process of their own that may do nothing else.

A pickle is a program. `torch.load(weights_only=True)` runs only a small part of the language, and was broken twice
(CVE-2025-32434, CVE-2026-24747); so it happens where a break gains nothing: worker/conversion/confinement.py.
"""

import json
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sat_engine.errors import CheckpointError
from sat_engine.io.tensors import MAX_HEADER_BYTES, read_header

log = logging.getLogger(__name__)

GIBIBYTE = 1024**3
POLL_SECONDS = 0.1
# importing torch takes seconds on a loaded machine; then 20 MB/s, a slow disk's pace
START_SECONDS, BYTES_PER_SECOND = 120, 20_000_000
# weights shared by two names are written twice, and half of them as averages once more
UNFOLDED = 4
REPORT_BYTES = 2**16
SENTENCE = 1000
_ROOT = Path(__file__).resolve().parents[2]
_START = "import sys; sys.path.append(sys.argv.pop(1)); from worker.conversion.program import main; main()"


def convert(source: Path, folder: Path, heed: Callable[[], object], *, strict: bool = False) -> Path:
    """Convert a PyTorch checkpoint into a safetensors file in the private folder, and return its path.

    strict: the file is not read where a measure of the confinement cannot be had; otherwise the log names it.
    heed is called ten times a second and may raise, which ends the conversion. CheckpointError, with the reason, where
    the file cannot be converted.
    """
    target, report = folder / "converted.safetensors", folder / "report"
    size = source.stat().st_size
    seconds = START_SECONDS + size // BYTES_PER_SECOND
    output_bytes = UNFOLDED * size
    limits = {
        "process": {
            "memory_bytes": GIBIBYTE + (2 + UNFOLDED) * size,
            "file_bytes": output_bytes + MAX_HEADER_BYTES,
            "cpu_seconds": seconds,
        },
        "output_bytes": output_bytes,
        "strict": strict,
    }
    with _started(source, target, report, json.dumps(limits)) as process:
        deadline = time.monotonic() + seconds
        while process.poll() is None:
            heed()
            if time.monotonic() > deadline:
                raise CheckpointError(f"the .pth file could not be converted: it took longer than {seconds} seconds")
            time.sleep(POLL_SECONDS)
    said = read_report(report, process.returncode)
    if said["without"]:
        log.warning("a conversion ran without %s: this system does not allow it", ", ".join(said["without"]))
    read_header(target)
    return target


def read_report(path: Path, status: int) -> dict[str, Any]:
    """What the confined program said: `tensors` and `without`; CheckpointError with its sentence, or for nonsense.

    The program has read a stranger's file, so its words are bounded and printed only as plain text.
    """
    said = _last_line(path)
    refused = said.get("refused")
    if isinstance(refused, str):
        raise CheckpointError(f"the .pth file could not be converted: {_plain(refused)}")
    tensors, without = said.get("tensors"), said.get("without")
    if status != 0 or type(tensors) is not int or tensors < 1:
        raise CheckpointError(
            f"the .pth file could not be converted: {_end_of(status)}. Save the weights alone: "
            "torch.save(model.state_dict(), path), or as safetensors"
        )
    named = without if isinstance(without, list) else []
    return {"tensors": tensors, "without": [_plain(str(each)) for each in named[:8]]}


@contextmanager
def _started(source: Path, target: Path, report: Path, limits: str) -> Iterator["subprocess.Popen[bytes]"]:
    """The confined program, which is gone at the end whatever happens. It inherits three descriptors and no more."""
    with source.open("rb") as reading, _private(target) as writing, _private(report) as saying:
        process = subprocess.Popen(  # noqa: S603  this Python, and limits of our own
            [sys.executable, "-I", "-c", _START, str(_ROOT), limits],
            stdin=reading,
            stdout=writing,
            stderr=saying,
            env={"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
            cwd="/",
            close_fds=True,
            start_new_session=True,
        )
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()
            process.wait()


@contextmanager
def _private(path: Path) -> Iterator[int]:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _last_line(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - REPORT_BYTES))
        lines = file.read(REPORT_BYTES).splitlines()
    try:
        said = json.loads(lines[-1]) if lines else {}
    except (ValueError, RecursionError):
        return {}
    return said if isinstance(said, dict) else {}


def _plain(text: str) -> str:
    return "".join(character if character.isprintable() else " " for character in text[:SENTENCE])


def _end_of(status: int) -> str:
    if status >= 0:
        return "the converter ended without a result"
    name = signal.Signals(-status).name if -status in {each.value for each in signal.Signals} else str(-status)
    return f"the converter was stopped by {name}: it asked for more time or memory than a file of its size should"
