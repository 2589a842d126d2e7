"""Fuzzing of the two readers that look into strangers' files: whatever the bytes, a result or a CheckpointError."""

import io
import json
import tempfile
from pathlib import Path

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import save

from sat_engine.errors import CheckpointError
from sat_engine.io.tensors import BYTES_OF, read_header, weights_digest
from worker.conversion.converter import read_report

GOOD = save({"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.zeros(0, np.uint8), "c": np.ones(1, np.int64)})
SAID = json.dumps({"tensors": 3, "without": ["a network namespace (Operation not permitted)"]}).encode()

_numbers = st.one_of(
    st.integers(-(2**65), 2**65), st.integers(0, 64), st.floats(), st.booleans(), st.none(), st.text(max_size=3)
)
_values = st.recursive(
    _numbers,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
_entries = st.fixed_dictionaries(
    {},
    optional={
        "dtype": st.one_of(st.sampled_from([*BYTES_OF, "X"]), _values),
        "shape": st.one_of(st.lists(st.integers(0, 9), max_size=4), _values),
        "data_offsets": st.one_of(st.lists(st.integers(0, 64), min_size=2, max_size=2), _values),
        "more": _values,
    },
)
_headers = st.dictionaries(st.text(max_size=6), _entries | _values, max_size=4).map(
    lambda header: json.dumps(header).encode("utf-8", "surrogatepass")
)
_framed = st.builds(
    lambda text, data, add: max(0, len(text) + add).to_bytes(8, "little") + text + data,
    _headers | st.binary(max_size=60),
    st.binary(max_size=64),
    st.sampled_from([0, 0, 0, 0, 1, -1, 2**40]),
)


def spliced(good: bytes) -> st.SearchStrategy[bytes]:
    """A good file with some bytes replaced, and perhaps cut short."""
    edits = st.lists(st.tuples(st.integers(0, len(good) - 1), st.integers(0, 255)), max_size=6)

    def apply(edited: list[tuple[int, int]], end: int) -> bytes:
        content = bytearray(good)
        for position, value in edited:
            content[position] = value
        return bytes(content[:end])

    return st.builds(apply, edits, st.integers(0, len(good)) | st.just(len(good)))


checkpoints = st.one_of(_framed, spliced(GOOD), st.binary(max_size=200))
reports = st.one_of(
    spliced(SAID),
    st.binary(max_size=200),
    _values.map(lambda value: json.dumps(value).encode("utf-8", "surrogatepass")),
    st.dictionaries(st.sampled_from(["tensors", "without", "refused"]), _values).map(
        lambda said: json.dumps(said).encode("utf-8", "surrogatepass")
    ),
)


def try_checkpoint(content: bytes) -> None:
    """Every tensor lies within the file, without overlap or hole; or the reason is a sentence."""
    try:
        found = read_header(io.BytesIO(content))
    except CheckpointError as error:
        said = str(error)
    else:
        total = sum(BYTES_OF[header.dtype] * int(np.prod(header.shape, dtype=object)) for header in found.values())
        assert 8 + int.from_bytes(content[:8], "little") + total == len(content)
        assert len(weights_digest(io.BytesIO(content))) == 32
        return
    assert 10 < len(said) < 2000


def try_report(content: bytes, status: int) -> None:
    """A count of tensors from an orderly end; or a printable sentence."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "report"
        path.write_bytes(content)
        try:
            read = read_report(path, status)
        except CheckpointError as error:
            said = str(error)
        else:
            assert status == 0
            assert read["tensors"] > 0
            assert all(each.isprintable() for each in read["without"])
            return
    assert said.isprintable()
    assert 10 < len(said) < 1500


def fuzz(examples: int) -> None:
    """Both readers, on so many inputs each; the first input that breaks one is raised with its bytes."""
    often = settings(max_examples=examples, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    often(given(checkpoints)(try_checkpoint))()
    often(given(reports, st.sampled_from([0, 1, -9, -31]))(try_report))()
