"""The confined program: a PyTorch checkpoint on descriptor 0 becomes safetensors on descriptor 1, or a sentence.

The last line on descriptor 2 is a JSON report: `{"tensors": n, "without": [...]}`, or `{"refused": "why", ...}`. It is
started by worker/conversion/converter.py, which trusts neither the report nor the file.
"""

import argparse
import codecs
import io
import json
import os
import pickle
import re
import sys
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from typing import IO, TYPE_CHECKING, Any

from worker.conversion.confinement import give_up_the_rest, leave_network

if TYPE_CHECKING:
    from torch import Tensor

MAX_ENTRIES = 2**15  # in an archive: each of 16,384 tensors, and what torch.save writes beside them
MAX_DEPTH = 8
MEBIBYTE = 2**20
# What an optimiser keeps beside the weights is two to three times their size, and no network needs it.
TRAINING_ONLY = frozenset({"optimizer", "optimizer_state_dict", "optimizers", "optimizer_states"})
_GLOBAL = re.compile(r"unsupported (?:global: )?(?:global|class) (\S+)", re.IGNORECASE)
SAVE = "save the weights alone: torch.save(model.state_dict(), path), or as safetensors"


class RefusedError(Exception):
    """The file cannot become a checkpoint; the message says why and what to do."""


def main() -> None:
    """Confine this process, convert, report."""
    warnings.simplefilter("ignore")
    without: list[str] = []
    try:
        limits = json.loads(sys.argv[1])
        without += leave_network()
        _warm_up()
        without += give_up_the_rest(**limits["process"])
        if limits["strict"]:
            _require_all(without)
        # descriptors, which end with the process
        source, target = open(0, "rb", closefd=False), open(1, "wb", closefd=False)  # noqa: SIM115
        report: dict[str, Any] = {"tensors": _convert(source, target, limits["output_bytes"])}
        target.flush()
    except RefusedError as error:
        report = {"refused": str(error)}
    except MemoryError:
        report = {"refused": f"it takes more memory than a file of its size should; {SAVE}"}
    except Exception as error:  # noqa: BLE001  whatever a hostile file makes of torch is that file's fault
        report = {"refused": _explain(error)}
    os.write(2, b"\n" + json.dumps(report | {"without": without}).encode() + b"\n")
    # no destructor of what was loaded runs
    os._exit(0)


def _require_all(without: list[str]) -> None:
    if without:
        raise RefusedError(
            "this server reads .pth files only in full confinement (SAT_CONVERSION=strict), and its system does not "
            f"allow {', '.join(without)}; save the weights as safetensors"
        )


def _warm_up() -> None:
    """Have torch import everything that loading needs, while files can still be opened."""
    import torch

    torch.set_num_threads(1)
    torch.serialization.add_safe_globals([argparse.Namespace])
    sample = {
        "a": torch.zeros(2, dtype=torch.bfloat16),
        "b": torch.nn.Parameter(torch.ones(1)),
        "c": argparse.Namespace(),
    }
    for as_zip in (True, False):
        file = io.BytesIO()
        torch.save(sample, file, _use_new_zipfile_serialization=as_zip)
        file.seek(0)
        for name, tensor in _flatten(torch.load(file, map_location="cpu", weights_only=True)):
            _dtype(name, tensor)
            _bytes(tensor)
    zipfile.is_zipfile(io.BytesIO(b"PK"))
    codecs.lookup("cp437")  # of names in archives that another program packed
    try:
        torch.load(io.BytesIO(b"\x80\x02c__builtin__\neval\n."), weights_only=True)
    except pickle.UnpicklingError as error:
        _explain(error)


def _convert(source: IO[bytes], target: IO[bytes], output_bytes: int) -> int:
    """Write the source's tensors to the target; how many those are."""
    import torch

    if source.read(2) == b"PK":
        _check_archive(source)
    source.seek(0)
    found = torch.load(source, map_location="cpu", weights_only=True)
    tensors = dict(_unique(_flatten(found)))
    if not tensors:
        raise RefusedError(f"it holds no tensor; {SAVE}")
    _write(tensors, target, output_bytes)
    return len(tensors)


def _check_archive(source: IO[bytes]) -> None:
    """torch.save compresses nothing: an archive that unfolds, or holds code, is not its work."""
    try:
        with zipfile.ZipFile(source) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, NotImplementedError, ValueError) as error:
        raise RefusedError(
            f"it is no whole archive of torch.save ({error}): it may be truncated; upload it again"
        ) from None
    if len(entries) > MAX_ENTRIES:
        raise RefusedError(f"its archive has {len(entries)} entries; at most {MAX_ENTRIES} are read")
    if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
        raise RefusedError(f"its archive is compressed, which torch.save never does; {SAVE}")
    if sum(entry.file_size for entry in entries) > source.seek(0, os.SEEK_END):
        raise RefusedError(f"its archive claims to hold more than the file does; {SAVE}")
    if any(entry.filename.endswith("/constants.pkl") for entry in entries):
        raise RefusedError(f"it is a TorchScript archive, which holds code; {SAVE}")


def _flatten(value: Any, prefix: str = "", depth: int = 0) -> Iterator[tuple[str, "Tensor"]]:
    """Every tensor in nested dictionaries under its names joined by dots; what is no tensor is left out."""
    from torch import Tensor

    if isinstance(value, Tensor):
        yield prefix or "tensor", value
    elif isinstance(value, Mapping):
        if depth > MAX_DEPTH:
            raise RefusedError(f"its dictionaries are nested more than {MAX_DEPTH} deep; {SAVE}")
        for name, inner in value.items():
            if depth == 0 and name in TRAINING_ONLY:
                continue
            if isinstance(name, str):
                yield from _flatten(inner, f"{prefix}.{name}" if prefix else name, depth + 1)


def _unique(named: Iterator[tuple[str, "Tensor"]]) -> Iterator[tuple[str, "Tensor"]]:
    seen = set()
    for name, tensor in named:
        if name in seen:
            raise RefusedError(f"two of its tensors are called {name[:80]!r}; {SAVE}")
        seen.add(name)
        yield name, tensor


def _dtype(name: str, tensor: "Tensor") -> str:
    """The tensor's type in safetensors' words; RefusedError for what they cannot say."""
    import torch

    words = {
        torch.bool: "BOOL", torch.uint8: "U8", torch.int8: "I8", torch.int16: "I16", torch.int32: "I32",
        torch.int64: "I64", torch.float16: "F16", torch.bfloat16: "BF16", torch.float32: "F32", torch.float64: "F64",
    }  # fmt: skip
    plain = tensor.layout == torch.strided and tensor.device.type == "cpu" and not tensor.is_quantized
    if not plain or tensor.dtype not in words:
        raise RefusedError(
            f"tensor {name[:80]!r} is {tensor.dtype} ({tensor.layout}, {tensor.device}), which no float32 network has; "
            "save the weights as they are trained, not quantised or sparse"
        )
    return words[tensor.dtype]


def _write(tensors: Mapping[str, "Tensor"], target: IO[bytes], output_bytes: int) -> None:
    """Write one safetensors file, tensor by tensor; nothing is made contiguous before the sum of sizes is known."""
    header: dict[str, Any] = {}
    end = 0
    for name in sorted(tensors):
        tensor = tensors[name]
        start, end = end, end + tensor.numel() * tensor.element_size()
        header[name] = {"dtype": _dtype(name, tensor), "shape": list(tensor.shape), "data_offsets": [start, end]}
    if end > output_bytes:
        raise RefusedError(
            f"its tensors unfold to {end} bytes, of which the file holds a fraction: they are views; "
            "save copies of them (tensor.clone())"
        )
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    target.write(len(text).to_bytes(8, "little") + text)
    for name in sorted(tensors):
        target.write(_bytes(tensors[name]))


def _bytes(tensor: "Tensor") -> memoryview:
    import torch

    return tensor.detach().contiguous().reshape(-1).view(torch.uint8).numpy().data


def _explain(error: Exception) -> str:
    # torch's own advice, to set weights_only to False, is nothing that anybody should read here: the cause is behind it
    said = str(error.__context__ if isinstance(error, pickle.UnpicklingError) and error.__context__ else error)
    if found := _GLOBAL.search(said):
        return f"it holds an object of {found.group(1)[:120]}, and objects need code that is not run here; {SAVE}"
    if "not enough memory" in said or "can't allocate memory" in said:
        return f"it takes more memory than a file of its size should; {SAVE}"
    first = " ".join(said.split()).partition(". ")[0][:300] or type(error).__name__
    return f"torch cannot load it ({first}); upload it again if it was cut short, or {SAVE}"
