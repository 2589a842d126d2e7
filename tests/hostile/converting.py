"""Fuzzing of the converter: spoilt .pth files, one after the other, in a process that is confined as the converter is.

    python -I -c "... from tests.hostile.converting import serve; serve()"

It answers each file (8 bytes of length, then the file) with a line of JSON: {"refused": sentence} or {"tensors": n}.
"""

import contextlib
import io
import json
import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load

from sat_engine.errors import CheckpointError
from sat_engine.io.formats import CheckpointFormat, format_of
from sat_engine.io.tensors import read_header
from tests.hostile.pickles import STATE, saved, zipped
from tests.hostile.readers import spliced
from worker.conversion import program
from worker.conversion.confinement import give_up_the_rest, leave_network
from worker.conversion.converter import convert

ROOT = Path(__file__).parents[2]
START = "import sys; sys.path.append(sys.argv.pop(1)); from tests.hostile.converting import serve; serve()"
NESTED = {"epoch": 3, "state_dict": {f"module.{name}": tensor for name, tensor in STATE.items()}, "rate": 0.1}
ZIP, LEGACY = saved(NESTED), saved(NESTED, as_zip=False)
MOST_BYTES = 2**20  # of tensors; those of the good files have 40
LIMITS = {"memory_bytes": 2**30, "file_bytes": 2**20, "cpu_seconds": 3600}


def _inside() -> tuple[bytes, dict[str, bytes]]:
    """The pickle in the good archive, and its other entries."""
    with zipfile.ZipFile(io.BytesIO(ZIP)) as archive:
        entries = {name.partition("/")[2]: archive.read(name) for name in archive.namelist()}
    return entries.pop("data.pkl"), {name: entries[name] for name in entries if name.startswith("data/")}


PICKLE, STORAGES = _inside()
# archives and legacy files with bytes replaced, and whole archives around spoilt pickles
spoilt = st.one_of(
    spliced(ZIP),
    spliced(LEGACY),
    spliced(PICKLE).map(lambda text: zipped(text, **STORAGES)),
    st.binary(max_size=60).map(lambda text: zipped(b"\x80\x02" + text + b".", **STORAGES)),
)


def serve() -> None:
    """Confine this process, then convert what comes until nothing does."""
    leave_network()
    program._warm_up()
    load(_written(ZIP)[1])  # what is imported late is imported now
    give_up_the_rest(**LIMITS)
    asking, answering = open(0, "rb", closefd=False), open(1, "wb", buffering=0, closefd=False)  # noqa: SIM115
    while length := asking.read(8):
        content = asking.read(int.from_bytes(length, "little"))
        answering.write(json.dumps(_judged(content)).encode() + b"\n")
    os._exit(0)


def _judged(content: bytes) -> dict[str, Any]:
    """What the converter's `main` says; and that the file which it wrote holds what torch reads."""
    try:
        tensors, written = _written(content)
    except (program.RefusedError, MemoryError) as error:
        return {"refused": str(error) or "it takes more memory than a file of its size should"}
    except Exception as error:  # noqa: BLE001  as `main` has it
        return {"refused": program._explain(error)}
    try:
        read_header(io.BytesIO(written))
    except CheckpointError as error:  # as whoever reads what was converted would say, of names for instance
        return {"refused": str(error)}
    # to the CPU, as the converter has it: else a spoilt name of a device ends this process, and no file did
    read = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    found, meant = load(written), dict(program._flatten(read))
    return {"tensors": tensors, "equal": _are_equal(found, meant)}


def _written(content: bytes) -> tuple[int, bytes]:
    target = io.BytesIO()
    return program._convert(io.BytesIO(content), target, MOST_BYTES), target.getvalue()


def _are_equal(found: Mapping[str, torch.Tensor], meant: Mapping[str, torch.Tensor]) -> bool:
    # bytes, since NaN is equal to nothing
    return found.keys() == meant.keys() and all(
        (found[name].dtype, found[name].shape) == (meant[name].dtype, meant[name].shape)
        and bytes(program._bytes(found[name])) == bytes(program._bytes(meant[name]))
        for name in found
    )


class Confined:
    """The process, made anew when a file has ended it."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self.deaths = 0

    def ask(self, content: bytes) -> dict[str, Any] | None:
        """Its answer; None when it died of the file."""
        if self._process is None:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-W", "ignore", "-c", START, str(ROOT)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                cwd="/",
            )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        line = b""
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(len(content).to_bytes(8, "little") + content)
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        if not line:
            self.end()
            self.deaths += 1
            return None
        answer: dict[str, Any] = json.loads(line)
        return answer

    def end(self) -> None:
        """End it."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None


@contextlib.contextmanager
def confined() -> Iterator[Confined]:
    """One that is gone at the end."""
    reader = Confined()
    try:
        yield reader
    finally:
        reader.end()


def try_pth(reader: Confined, content: bytes) -> None:
    """The tensors that are in the file, or a sentence; a file that ends the process is refused by the converter."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.pth"
        path.write_bytes(content)
        if format_of(path) is not CheckpointFormat.PYTORCH:
            return
        answer = reader.ask(content)
        if answer is None:
            with contextlib.suppress(CheckpointError):
                convert(path, Path(folder), lambda: None)
                raise AssertionError("it ended the process, but the converter took it")
        elif "refused" in answer:
            assert 10 < len(answer["refused"]) < 2000, answer
        else:
            assert answer["equal"], answer
            assert answer["tensors"] > 0


def fuzz(examples: int) -> int:
    """So many files; the first that breaks a rule is raised with its bytes. How many ended the confined process."""
    often = settings(max_examples=examples, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    with confined() as reader:
        for good in (ZIP, LEGACY, zipped(PICKLE, **STORAGES)):
            assert reader.ask(good) == {"tensors": len(STATE), "equal": True}
        often(given(spoilt)(lambda content: try_pth(reader, content)))()
        return reader.deaths
