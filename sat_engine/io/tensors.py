"""safetensors files: headers checked without loading, weights hashed, arrays written and memory-mapped.

Reading a header needs neither torch nor numpy, and trusts nothing: checkpoints come from strangers.
The format: 8 bytes little-endian header length, the header in JSON, then the tensors' bytes without holes.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from hashlib import sha256
from math import prod
from os import SEEK_END
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

from sat_engine.errors import CheckpointError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# The largest of timm's 1,300 architectures needs 0.2 MB; parsed, a header takes ten times its size.
MAX_HEADER_BYTES = 2 * 2**20
MAX_TENSORS = 16_384
# Brackets before it is parsed: three a tensor, and as many in what the metadata's texts say.
MAX_OPENINGS = 6 * MAX_TENSORS
MAX_DIMENSIONS = 16
MAX_NAME = 512
_BLOCK = 2**20
BYTES_OF: Mapping[str, int] = {
    **dict.fromkeys(("BOOL", "U8", "I8", "F8_E4M3", "F8_E5M2"), 1),
    **dict.fromkeys(("U16", "I16", "F16", "BF16"), 2),
    **dict.fromkeys(("U32", "I32", "F32"), 4),
    **dict.fromkeys(("U64", "I64", "F64"), 8),
}
_NUMPY_NAMES = {"BOOL": "?", "U8": "u1", "I32": "<i4", "I64": "<i8", "F32": "<f4", "F64": "<f8"}


class TensorHeader(NamedTuple):
    """A tensor's dtype in safetensors' words ("F32") and its shape."""

    dtype: str
    shape: tuple[int, ...]


class _Placed(NamedTuple):
    header: TensorHeader
    start: int  # in the file
    stop: int


def read_header(source: Path | BinaryIO) -> dict[str, TensorHeader]:
    """Return the names, dtypes and shapes in a safetensors file, or CheckpointError saying what is wrong.

    source is a path or a seekable binary stream. At most 2 MiB are read, whatever the header says; afterwards
    every tensor is known to lie within the file, without overlap or hole.
    """
    return {name: placed.header for name, placed in _read_layout(source).items()}


def weights_digest(source: Path | BinaryIO) -> bytes:
    """Return the sha256 (32 bytes) over sorted names, dtypes, shapes and bytes of a safetensors file.

    Files that differ only in metadata or in the order of their tensors have the same digest. Memory is bounded.
    """
    layout = _read_layout(source)
    digest = sha256()
    with _opened(source) as stream:
        for name, placed in sorted(layout.items()):
            # JSON of a list ends by itself, and dtype and shape say how many bytes follow: no two ways to read it
            digest.update(json.dumps([name, *placed.header]).encode())
            stream.seek(placed.start)
            left = placed.stop - placed.start
            while left:
                block = stream.read(min(left, _BLOCK))
                if not block:
                    raise CheckpointError("the file became shorter while it was read; upload it again")
                digest.update(block)
                left -= len(block)
    return digest.digest()


def write_arrays(path: Path, arrays: "Mapping[str, NDArray[Any]]") -> None:
    """Write named arrays (bool, uint8, int32, int64, float32 or float64) as one safetensors file."""
    import numpy as np
    from safetensors.numpy import save_file

    save_file({name: np.asarray(array, order="C") for name, array in arrays.items()}, str(path))


def read_arrays(path: Path) -> "dict[str, NDArray[Any]]":
    """Return the named arrays of a file as read-only memory maps: nothing is loaded until it is indexed."""
    import numpy as np

    return {
        name: _map(path, placed, np.dtype(_numpy_name(name, placed))) for name, placed in _read_layout(path).items()
    }


def _numpy_name(name: str, placed: _Placed) -> str:
    if placed.header.dtype not in _NUMPY_NAMES:
        raise CheckpointError(f"array {name} is {placed.header.dtype}; only {', '.join(_NUMPY_NAMES)} are mapped")
    return _NUMPY_NAMES[placed.header.dtype]


def _map(path: Path, placed: _Placed, dtype: "np.dtype[Any]") -> "NDArray[Any]":
    import numpy as np

    if placed.start == placed.stop:  # mmap refuses to map nothing
        empty = np.empty(placed.header.shape, dtype)
        empty.flags.writeable = False
        return empty
    return np.memmap(path, dtype, mode="r", offset=placed.start, shape=placed.header.shape)


@contextmanager
def _opened(source: Path | BinaryIO) -> Iterator[BinaryIO]:
    if isinstance(source, Path):
        with source.open("rb") as stream:
            yield stream
    else:
        yield source


def _read_layout(source: Path | BinaryIO) -> dict[str, _Placed]:
    with _opened(source) as stream:
        size = stream.seek(0, SEEK_END)
        stream.seek(0)
        length = int.from_bytes(stream.read(8), "little")
        if size < 8 or length > size - 8:  # noqa: PLR2004  # the length itself takes 8 bytes
            raise CheckpointError(
                f"this is no whole safetensors file: it has {size} bytes, but its header alone asks for {length + 8}; "
                "it may be truncated or of another format"
            )
        if length > MAX_HEADER_BYTES:
            raise CheckpointError(f"the safetensors header has {length} bytes; at most {MAX_HEADER_BYTES} are read")
        text = stream.read(length)
    tensors = _parse(text)
    layout = {name: _place(name, entry, 8 + length) for name, entry in tensors.items()}
    _require_seamless(layout, 8 + length, size)
    return layout


def _parse(text: bytes) -> dict[str, Any]:
    if text.count(b"{") + text.count(b"[") > MAX_OPENINGS:
        raise CheckpointError(f"the safetensors header has more than {MAX_OPENINGS} brackets; save fewer tensors")
    try:
        header = json.loads(text.decode("utf-8"), object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"the safetensors header cannot be read: {_first_line(error)}") from None
    if not isinstance(header, dict):
        raise CheckpointError("the safetensors header is not a JSON object")
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise CheckpointError("the header's __metadata__ must give each name a text; save the checkpoint again")
    if len(header) > MAX_TENSORS:
        raise CheckpointError(f"the checkpoint has {len(header)} tensors; at most {MAX_TENSORS} are read")
    return header


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    # two entries of one name could show different tensors to different readers
    if len(found := dict(pairs)) != len(pairs):
        raise ValueError("a name appears twice")
    return found


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0][:200]


def _place(name: str, entry: Any, start_of_bytes: int) -> _Placed:
    if not name or len(name) > MAX_NAME or not name.isprintable():
        raise CheckpointError(f"a tensor's name must have 1 to {MAX_NAME} printable characters, unlike {name[:40]!r}")
    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        raise CheckpointError(f"tensor {name} needs exactly dtype, shape and data_offsets in the header")
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or dtype not in BYTES_OF:
        raise CheckpointError(f"tensor {name} has dtype {dtype!r:.40}; known are {', '.join(BYTES_OF)}")
    if not _is_sizes(shape) or len(shape) > MAX_DIMENSIONS or not _is_sizes(offsets) or len(offsets) != 2:  # noqa: PLR2004  # begin, end
        raise CheckpointError(f"the shape and data_offsets of tensor {name} must be lists of whole numbers from 0")
    start, stop = offsets
    if stop - start != prod(shape) * BYTES_OF[dtype]:
        raise CheckpointError(f"tensor {name} is {dtype} {shape}, but the header gives it {stop - start} bytes")
    return _Placed(TensorHeader(dtype, tuple(shape)), start_of_bytes + start, start_of_bytes + stop)


def _is_sizes(value: Any) -> bool:
    # type() rather than isinstance: true and false are no sizes; 2**48 elements are more than any file holds
    return isinstance(value, list) and all(type(size) is int and 0 <= size <= 2**48 for size in value)


def _require_seamless(layout: Mapping[str, _Placed], start_of_bytes: int, size: int) -> None:
    expected = start_of_bytes
    for name, placed in sorted(layout.items(), key=lambda item: (item[1].start, item[1].stop)):
        if placed.start != expected:
            fault = "overlaps another" if placed.start < expected else "leaves a hole before it"
            raise CheckpointError(f"tensor {name} {fault} in the safetensors file; save the checkpoint again")
        expected = placed.stop
    if expected != size:
        fault = f"{expected - size} bytes short: it is truncated" if expected > size else "longer than its tensors"
        raise CheckpointError(f"the safetensors file is {fault}; upload it again, whole")
