"""A header is believed only as far as the file bears it out."""

import io
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

from sat_engine.errors import CheckpointError
from sat_engine.io.tensors import MAX_HEADER_BYTES, read_arrays, read_header, weights_digest, write_arrays

F32 = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}


def made(header: object, body: bytes = b"", length: int | None = None) -> io.BytesIO:
    """Return a file with this header, which may be raw bytes, and this body."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return io.BytesIO((len(text) if length is None else length).to_bytes(8, "little") + text + body)


@pytest.fixture
def arrays() -> dict[str, np.ndarray]:
    """One array of every kind that is written, empty and scalar ones among them."""
    rng = np.random.default_rng(0)
    return {
        "images": rng.integers(0, 256, (3, 4, 4, 1), dtype=np.uint8),
        "logits": rng.normal(size=(3, 10)).astype(np.float32),
        "positions": np.arange(3, dtype=np.int32),
        "labels": np.arange(3, dtype=np.int64),
        "nothing": np.empty((0, 5), np.float32),
        "one": np.array(1.5),
        "correct": np.array([True, False, True]),
    }


def test_what_is_written_is_read_back_mapped(tmp_path: Path, arrays: dict[str, np.ndarray]) -> None:
    path = tmp_path / "arrays.safetensors"
    write_arrays(path, arrays)
    back = read_arrays(path)
    assert set(back) == set(arrays)
    for name, array in arrays.items():
        assert back[name].dtype == array.dtype
        assert np.array_equal(back[name], array)
        with pytest.raises(ValueError, match="read-only"):
            back[name][...] = 0
    assert isinstance(back["images"], np.memmap)


def test_headers_of_real_files_are_read_from_paths_and_streams(tmp_path: Path, arrays: dict[str, np.ndarray]) -> None:
    path = tmp_path / "arrays.safetensors"
    save_file(arrays, path, metadata={"format": "np"})
    from_path, from_stream = read_header(path), read_header(io.BytesIO(path.read_bytes()))
    assert from_path == from_stream
    assert from_path["images"] == ("U8", (3, 4, 4, 1))
    assert {name: shape for name, (_, shape) in from_path.items()} == {name: a.shape for name, a in arrays.items()}


def test_files_without_tensors_are_whole() -> None:
    assert read_header(made({})) == {}


def test_every_truncation_of_a_file_is_noticed(tmp_path: Path, arrays: dict[str, np.ndarray]) -> None:
    path = tmp_path / "arrays.safetensors"
    write_arrays(path, arrays)
    whole = path.read_bytes()
    for stop in range(len(whole)):
        with pytest.raises(CheckpointError):
            read_header(io.BytesIO(whole[:stop]))
    with pytest.raises(CheckpointError, match="longer than its tensors"):
        read_header(io.BytesIO(whole + b"\0"))


@pytest.mark.parametrize(
    ("hostile", "said"),
    [
        (io.BytesIO(b""), "truncated or of another format"),
        (io.BytesIO(b"PK\x03\x04" + bytes(100)), "truncated or of another format"),
        (made({}, length=2**63), "truncated or of another format"),
        (made(b" " * (MAX_HEADER_BYTES + 1)), "at most"),
        (made(b"[]"), "not a JSON object"),
        (made(b"{"), "cannot be read"),
        (made(b"\xff\xfe"), "cannot be read"),
        (made(b'{"a":' + b"[" * 90_000), "cannot be read"),
        (made(b'{"__metadata__":[' + b"{}," * 100_000 + b"{}]}"), "brackets"),
        (made({"__metadata__": {"epoch": 3}}), "must give each name a text"),
        (made({"__metadata__": ["a"]}), "must give each name a text"),
        (made(b'{"a":' + b"9" * 10_000 + b"}"), "cannot be read"),
        (made(b'{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"a":{}}', bytes(8)), "twice"),
        (made({"a": 3}), "tensor a needs exactly"),
        (made({"a": {"dtype": "F32", "shape": [2]}}), "tensor a needs exactly"),
        (made({"a": F32 | {"more": 1}}, bytes(8)), "tensor a needs exactly"),
        (made({"a": F32 | {"dtype": "PICKLE"}}, bytes(8)), "dtype 'PICKLE'"),
        (made({"a": F32 | {"dtype": ["F32"]}}, bytes(8)), "dtype"),
        (made({"a": F32 | {"shape": [-2]}}, bytes(8)), "whole numbers"),
        (made({"a": F32 | {"shape": [2.0]}}, bytes(8)), "whole numbers"),
        (made({"a": F32 | {"shape": [True, 2]}}, bytes(8)), "whole numbers"),
        (made({"a": F32 | {"shape": [2**62, 4]}}, bytes(8)), "whole numbers"),
        (made({"a": F32 | {"shape": [2**40, 2**40]}}, bytes(8)), "gives it 8 bytes"),
        (made({"a": F32 | {"shape": [3]}}, bytes(8)), "gives it 8 bytes"),
        (made({"a": F32 | {"data_offsets": [8, 0]}}, bytes(8)), "gives it -8 bytes"),
        (made({"a": F32 | {"data_offsets": [0]}}, bytes(8)), "whole numbers"),
        (made({"a": F32, "b": F32}, bytes(8)), "overlaps"),
        (made({"a": F32 | {"data_offsets": [8, 16]}}, bytes(16)), "hole"),
        (made({"a": F32}, bytes(4)), "4 bytes short"),
        (made({"": F32}, bytes(8)), "name"),
        (made({"a\nb": F32}, bytes(8)), "name"),
        (made({"x" * 1000: F32}, bytes(8)), "name"),
    ],
)
def test_a_hostile_header_is_refused_with_a_sentence(hostile: io.BytesIO, said: str) -> None:
    with pytest.raises(CheckpointError, match=said) as refused:
        read_header(hostile)
    assert len(str(refused.value)) < 500


@given(st.binary(max_size=300))
@settings(max_examples=300)
def test_no_bytes_make_the_reader_fail_otherwise(noise: bytes) -> None:
    for stream in (io.BytesIO(noise), made(noise), made(b'{"a":' + noise + b"}", bytes(8))):
        try:
            read_header(stream)
        except CheckpointError:
            continue


def test_the_digest_is_of_the_tensors_and_not_of_the_file(tmp_path: Path, arrays: dict[str, np.ndarray]) -> None:
    one, other = tmp_path / "one.safetensors", tmp_path / "other.safetensors"
    save_file(arrays, one)
    save_file(arrays, other, metadata={"note": "the same weights"})
    assert one.read_bytes() != other.read_bytes()
    assert weights_digest(one) == weights_digest(other)
    reordered = io.BytesIO(_reordered(load_file(one)))
    assert weights_digest(reordered) == weights_digest(one)


@pytest.mark.parametrize(
    "change",
    [
        lambda a: {**a, "one": np.array(1.25)},
        lambda a: {**a, "logits": a["logits"].T},
        lambda a: {**a, "positions": a["positions"].view(np.uint32)},
        lambda a: {("logit" if name == "logits" else name): array for name, array in a.items()},
        lambda a: {name: array for name, array in a.items() if name != "nothing"},
    ],
)
def test_every_change_of_a_tensor_changes_the_digest(
    change: object, tmp_path: Path, arrays: dict[str, np.ndarray]
) -> None:
    before, after = tmp_path / "before.safetensors", tmp_path / "after.safetensors"
    save_file(arrays, before)
    save_file({name: np.ascontiguousarray(array) for name, array in change(arrays).items()}, after)
    assert weights_digest(before) != weights_digest(after)


def test_reading_headers_and_hashing_need_neither_numpy_nor_torch(tmp_path: Path) -> None:
    path = tmp_path / "arrays.safetensors"
    save_file({"a": np.zeros(2, np.float32)}, path)
    program = (
        "import sys; from pathlib import Path; from sat_engine.io.tensors import read_header, weights_digest;"
        f"p = Path({str(path)!r}); read_header(p); weights_digest(p);"
        "print([m for m in ('numpy', 'torch', 'safetensors') if m in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def _reordered(arrays: dict[str, np.ndarray]) -> bytes:
    """Return a file with the same tensors in the opposite order, as another writer might lay them out."""
    header, body = {}, b""
    for name in sorted(arrays, reverse=True):
        array = arrays[name]
        kind = {"uint8": "U8", "float32": "F32", "int32": "I32", "int64": "I64", "float64": "F64", "bool": "BOOL"}
        stop = len(body) + array.nbytes
        header[name] = {"dtype": kind[str(array.dtype)], "shape": list(array.shape), "data_offsets": [len(body), stop]}
        body += array.tobytes()
    return made(header, body).getvalue()
