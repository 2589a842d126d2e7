"""Forged safetensors files, and image sets that are none."""

import io
import json
import zipfile
from collections.abc import Iterator
from typing import Any

import numpy as np
from PIL import Image
from safetensors.numpy import save


def framed(header: bytes | object, data: bytes = b"", length: int | None = None) -> bytes:
    """A safetensors file with this header, whatever it says."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return (len(text) if length is None else length).to_bytes(8, "little") + text + data


def entry(dtype: object = "F32", shape: object = (1,), offsets: object = (0, 4)) -> dict[str, object]:
    """One tensor of a header."""
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


def checkpoints() -> Iterator[tuple[str, bytes]]:
    """Checkpoints that are no safetensors, though they say so."""
    yield "one byte", b"a"
    yield "seven bytes", b"a" * 7
    yield "another format", b"GGUF" + b"\0" * 100
    for length in (2**63, 2**64 - 1, 2**40, 17 * 2**20, 3):
        yield f"a header of {length} bytes", framed({"a": entry()}, b"\0" * 4, length)
    yield "a header of 17 MiB", framed(b" " * (17 * 2**20))
    yield "a header of text", framed(b"hello")
    yield "a header that is no UTF-8", framed(b'{"\xff": 1}')
    yield "a header 100,000 deep", framed(b"[" * 100_000)
    yield "objects 100,000 deep", framed(b'{"a":' * 100_000)
    yield "a number of 5,000 digits", framed(b'{"a": ' + b"9" * 5000 + b"}")
    yield "a list", framed([])
    yield "no tensors", framed({})
    yield "only metadata", framed({"__metadata__": {"a": "b" * 10**6}})
    yield "a name twice", framed(b'{"a": %s, "a": %s}' % ((json.dumps(entry()).encode(),) * 2), b"\0" * 4)
    yield "70,000 tensors", framed({f"a{i}": entry("U8", [0], [0, 0]) for i in range(70_000)})
    for name in ("", "a" * 600, "a\0b", "\x1b[2J", "a\nb", "\u202egpj"):
        yield f"a tensor called {name[:9]!r}", framed({name: entry()}, b"\0" * 4)
    for dtype in ("F31", "f32", 7, None, ["F32"], "F32\0"):
        yield f"dtype {dtype!r}", framed({"a": entry(dtype)}, b"\0" * 4)
    huge: list[Any] = [[2**62, 4], [2**63], [10**30], [-1], [-1, -4], [1.0], [True], ["1"], None, {}, [1] * 17]
    for shape in huge:
        yield f"shape {shape!r:.40}", framed({"a": entry(shape=shape)}, b"\0" * 4)
    for offsets in ([4, 0], [0, 8], [0, 2**63], [-4, 0], [0], [0, 4, 8], [0.0, 4.0], None, [1, 5]):
        yield f"offsets {offsets!r}", framed({"a": entry(offsets=offsets)}, b"\0" * 4)
    yield "overlapping tensors", framed({"a": entry(), "b": entry()}, b"\0" * 4)
    yield "a hole", framed({"a": entry(), "b": entry(offsets=[8, 12])}, b"\0" * 12)
    yield "more bytes than tensors", framed({"a": entry()}, b"\0" * 5)
    yield "fewer bytes than tensors", framed({"a": entry()}, b"\0" * 3)
    yield "a member too many", framed({"a": entry() | {"x": 1}}, b"\0" * 4)
    yield "a plain pickle", b"\x80\x04]."
    yield "an archive of arrays", _npz(images=np.zeros(3))


def image_sets() -> Iterator[tuple[str, bytes, dict[str, object]]]:
    """Content and changes of the metadata that make no image set."""
    images, labels = np.zeros((9, 8, 8, 1), np.uint8), np.zeros(9, np.int64)
    arrays: list[tuple[str, dict[str, Any]]] = [
        ("no labels", {"images": images}),
        ("no images", {"labels": labels}),
        ("images of floats", {"images": images.astype(np.float32), "labels": labels}),
        ("NaN images", {"images": np.full((9, 8, 8, 1), np.nan, np.float32), "labels": labels}),
        ("oblong images", {"images": images[:, :4], "labels": labels}),
        ("two channels", {"images": images.repeat(2, 3), "labels": labels}),
        ("images without channels", {"images": images[..., 0], "labels": labels}),
        ("no image at all", {"images": images[:0], "labels": labels[:0]}),
        ("images without pixels", {"images": images[:, :0, :0], "labels": labels}),
        ("too few labels", {"images": images, "labels": labels[:8]}),
        ("labels of floats", {"images": images, "labels": labels.astype(np.float64)}),
        ("labels beyond the classes", {"images": images, "labels": labels + 2}),
        ("labels below zero", {"images": images, "labels": labels - 1}),
        ("labels of 2^63 - 1", {"images": images, "labels": labels + (2**63 - 1)}),
        ("labels in two dimensions", {"images": images, "labels": labels[:, None]}),
    ]
    for name, content in arrays:
        yield name, save(content), {}
    good = save({"images": images, "labels": labels})
    yield "an .npz", _npz(images=images, labels=labels), {}
    yield "an .npz of pickles", _npz(images=np.array([{"a": 1}], dtype=object)), {}
    yield "a compressed gigabyte", _npz(images=np.zeros(2**28, np.uint8)), {}
    yield "a .pth", b"PK\x03\x04" + b"\0" * 22 + b"\x0a\0\0\0a/data.pkl", {}
    yield "a picture of 65,500 pixels a side", _picture(), {}
    yield "a side of 2^20 pixels", framed({"images": entry("U8", [1, 2**20, 2**20, 1], [0, 2**40])}), {}
    for parts in ({"attack": 0, "select": 0, "report": 0}, {"attack": 10**9, "select": 0, "report": 0}, {"attack": -1}):
        yield f"parts {parts}", good, {"parts": parts}
    for change in ({"prefix": 0}, {"prefix": 10**30}, {"seed": -1}, {"seed": 2**64}, {"classes": ["a"]}, {"x": 1}):
        yield f"metadata {change}", good, change
    yield "a class twice", good, {"classes": ["a", "a"]}
    yield "200,000 classes", good, {"classes": [f"c{i}" for i in range(200_000)]}


def _npz(**arrays: Any) -> bytes:
    file = io.BytesIO()
    np.savez_compressed(file, **arrays)
    return file.getvalue()


def _picture() -> bytes:
    file = io.BytesIO()
    Image.new("1", (65_500, 655)).save(file, "PNG")
    with zipfile.ZipFile(out := io.BytesIO(), "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.png", file.getvalue())
    return out.getvalue()
