"""The matrix as JSON, CSV, npz and parquet, written piece by piece so that no format is ever whole in memory."""

import csv
import io
import json
import zipfile
from collections.abc import Callable, Iterator
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from pydantic_core import to_json

from api.renderings import Write
from registry.reads.matrix import OBTAINED, Matrix

if TYPE_CHECKING:
    from arro3.core import RecordBatch

DECIMALS = 6
ROWS_AT_ONCE = 64


class Format(StrEnum):
    """How the matrix is written."""

    JSON = "json"
    CSV = "csv"
    NPZ = "npz"
    PARQUET = "parquet"


class Values(StrEnum):
    """What a CSV holds: it has room for one table."""

    SAT = "sat"
    OBTAINED = "obtained"


MEDIA_TYPES = {
    Format.JSON: "application/json",
    Format.CSV: "text/csv; charset=utf-8",
    Format.NPZ: "application/x-npz",
    Format.PARQUET: "application/vnd.apache.parquet",
}


def writer_of(matrix: Matrix, format_: Format, values: Values) -> Callable[[Write], None]:
    """What writes the matrix in that format."""
    if format_ is Format.CSV:
        return lambda write: write_csv(matrix, values, write)
    write_as = {Format.JSON: write_json, Format.NPZ: write_npz, Format.PARQUET: write_parquet}[format_]
    return lambda write: write_as(matrix, write)


def write_json(matrix: Matrix, write: Write) -> None:
    """One object: head, `sat` row by row, `obtained` row by row."""
    head = {
        "comparison": matrix.comparison,
        "version": matrix.version,
        "models": matrix.models,
        "missing": matrix.missing,
    }
    write((json.dumps(head).removesuffix("}") + ', "sat": [').encode())
    for index in range(len(matrix.models)):
        row = to_json(matrix.sat(index).round(DECIMALS).tolist(), inf_nan_mode="null")
        write((b"," if index else b"") + row)
    write(b'], "obtained": [')
    names = [json.dumps(each) for each in OBTAINED]
    for index in range(len(matrix.models)):
        row = ",".join([names[code] for code in matrix.obtained(index).tolist()]).encode()
        write((b",[" if index else b"[") + row + b"]")
    write(b"]}")


def write_csv(matrix: Matrix, values: Values, write: Write) -> None:
    """A square table: names in the first row and column, an empty cell where there is nothing."""
    line = io.StringIO()
    names = csv.writer(line, lineterminator="\n")
    names.writerow(["model", *matrix.models])
    write(line.getvalue().encode())
    for index, name in enumerate(matrix.models):
        line.seek(0)
        line.truncate()
        names.writerow([name])
        if values is Values.SAT:
            # a number is not equal to itself where it is none
            cells = [f"{each:.{DECIMALS}f}" if each == each else "" for each in matrix.sat(index).tolist()]  # noqa: PLR0124
        else:
            cells = [OBTAINED[code] or "" for code in matrix.obtained(index).tolist()]
        write(f"{line.getvalue().rstrip()},{','.join(cells)}\n".encode())


def write_npz(matrix: Matrix, write: Write) -> None:
    """Arrays for numpy.load: names, then sat, obtained (places in obtained_names), n, fooled and rung, each (m, m)."""
    m = len(matrix.models)
    sink = _Sink(write)
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, array in (
            ("comparison", np.array(matrix.comparison)),
            ("version", np.array(matrix.version)),
            ("models", np.array(matrix.models, dtype=np.str_)),
            ("networks", np.array(matrix.networks, dtype=np.str_)),
            ("obtained_names", np.array([each or "missing" for each in OBTAINED])),
        ):
            with archive.open(f"{name}.npy", "w") as file:
                np.lib.format.write_array(file, array, allow_pickle=False)
        for name, dtype, row_of in (
            ("sat", np.dtype(np.float64), matrix.sat),
            ("obtained", np.dtype(np.uint8), matrix.obtained),
            ("n", np.dtype(np.int32), matrix.n),
            ("fooled", np.dtype(np.int32), matrix.fooled),
            ("rung", np.dtype(np.int8), matrix.rung),
        ):
            with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": (m, m)}
                np.lib.format.write_array_header_1_0(file, header)
                for start in range(0, m, ROWS_AT_ONCE):
                    rows: list[NDArray[Any]] = [row_of(i) for i in range(start, min(start + ROWS_AT_ONCE, m))]
                    file.write(np.stack(rows).astype(dtype).tobytes())


def write_parquet(matrix: Matrix, write: Write) -> None:
    """A row for each pair and each model with itself: a, b, sat, obtained, n, a_fools_b, b_fools_a, rung."""
    # 9 MB that only those pay for who ask for it
    from arro3.core import RecordBatchReader
    from arro3.io import write_parquet as write_arrow

    # one without models needs the columns, too
    first = _batch(matrix, range(min(ROWS_AT_ONCE, len(matrix.models))))
    reader = RecordBatchReader.from_batches(first.schema, _batches(matrix, first))
    about = {"comparison": matrix.comparison, "version": str(matrix.version)}
    sink: Any = _Sink(write)
    write_arrow(reader, sink, compression="zstd(1)", key_value_metadata=about, max_row_group_size=ROWS_AT_ONCE * 1024)


def _batches(matrix: Matrix, first: "RecordBatch") -> Iterator["RecordBatch"]:
    yield first
    for start in range(ROWS_AT_ONCE, len(matrix.models), ROWS_AT_ONCE):
        yield _batch(matrix, range(start, min(start + ROWS_AT_ONCE, len(matrix.models))))


def _batch(matrix: Matrix, rows: range) -> "RecordBatch":
    """The pairs of these models with themselves and with all that follow them."""
    from arro3.core import Array, DataType, RecordBatch

    names = Array(list(matrix.models), type=DataType.string())
    codes = Array(list(OBTAINED), type=DataType.string())
    parts = [(np.full(len(matrix.models) - i, i), np.arange(i, len(matrix.models)), *matrix.pair_row(i)) for i in rows]
    columns = [np.concatenate(each) for each in zip(*parts, strict=True)] if parts else [np.zeros(0)] * 8
    a, b, sat, obtained, n, out, into, rung = columns
    return RecordBatch.from_pydict(
        {
            "a": names.take(Array.from_numpy(a.astype(np.int64))),
            "b": names.take(Array.from_numpy(b.astype(np.int64))),
            "sat": _nullable(sat.astype(np.float64), np.isnan(sat), DataType.float64()),
            "obtained": codes.take(Array.from_numpy(obtained.astype(np.int64))),
            **{
                name: _nullable(counts.astype(np.int32), counts < 0, DataType.int32())
                for name, counts in (("n", n), ("a_fools_b", out), ("b_fools_a", into), ("rung", rung))
            },
        }
    )


def _nullable(values: NDArray[Any], missing: NDArray[np.bool_], kind: Any) -> Any:
    """An Arrow array with null where it is missing: taken from the values with a null behind them."""
    from arro3.core import Array

    if not missing.any():
        return Array.from_numpy(values)
    where = [None if gone else value for value, gone in zip(values.tolist(), missing.tolist(), strict=True)]
    return Array(where, type=kind)


class _Sink(io.RawIOBase):
    """A file that is only written, in order."""

    def __init__(self, write: Write) -> None:
        super().__init__()
        self._write = write

    def writable(self) -> bool:
        return True

    def write(self, content: Any) -> int:
        piece = bytes(content)
        self._write(piece)
        return len(piece)
