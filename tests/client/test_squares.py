"""Importing real images: digits drawn as PNG files, and the same as arrays."""

import contextlib
import hashlib
import io
import json
import time
import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from safetensors import safe_open
from safetensors.numpy import load_file, save_file
from sklearn.datasets import load_digits

from client.errors import InputError
from client.squares import write_folder, write_npz

SIDE = 16


def digits(count: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Return digits as squares (count, 16, 16), and their labels."""
    scans = load_digits()
    small = np.rint(scans.images[:count] * (255 / 16)).astype(np.uint8)
    return small.repeat(2, axis=1).repeat(2, axis=2), scans.target[:count].astype(np.int64)


def draw(folder: Path, images: NDArray[np.uint8], labels: NDArray[np.int64]) -> NDArray[np.intp]:
    """Write each image as PNG into the folder of its class; return the order in which a reader meets them."""
    for number, (image, label) in enumerate(zip(images, labels, strict=True)):
        path = folder / str(label) / f"{number:05}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path)
    return np.argsort(labels, kind="stable")


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("channels", [1, 3])
def test_a_folder_and_the_npz_of_the_same_squares_give_the_same_bytes(tmp_path: Path, channels: int) -> None:
    images, labels = digits(60)
    order = draw(tmp_path / "folder", images, labels)
    stacked = images[order] if channels == 1 else images[order][..., None].repeat(3, axis=3)
    np.savez(tmp_path / "digits.npz", images=stacked, labels=labels[order])
    drawn = write_folder(tmp_path / "folder", tmp_path / "a", side=SIDE, channels=channels)
    saved = write_npz(tmp_path / "digits.npz", tmp_path / "b")
    assert drawn == saved
    assert drawn.classes == tuple("0123456789")
    assert sha256(tmp_path / "a") == sha256(tmp_path / "b")


def test_the_file_is_what_the_safetensors_library_writes(tmp_path: Path) -> None:
    images, labels = digits(31)
    np.savez_compressed(tmp_path / "digits.npz", images=images, labels=labels.astype(np.int32))
    write_npz(tmp_path / "digits.npz", tmp_path / "ours")
    loaded = load_file(tmp_path / "ours")
    assert loaded["labels"].dtype == np.int64
    np.testing.assert_array_equal(loaded["images"], images[..., None])
    np.testing.assert_array_equal(loaded["labels"], labels)
    save_file({"images": images[..., None], "labels": labels}, tmp_path / "theirs")
    assert sha256(tmp_path / "ours") == sha256(tmp_path / "theirs")


def test_an_image_is_resized_by_its_shorter_side_and_cropped_in_the_middle(tmp_path: Path) -> None:
    # 40 x 20: red, green, blue, white stripes of 10; the middle 20 x 20 is green and blue
    stripes = np.zeros((20, 40, 3), np.uint8)
    for number, colour in enumerate(((255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255))):
        stripes[:, 10 * number : 10 * number + 10] = colour
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        Image.fromarray(stripes).save(tmp_path / name / "stripes.png")
    write_folder(tmp_path, tmp_path / "set", side=20, channels=3)
    image = load_file(tmp_path / "set")["images"][0]
    np.testing.assert_array_equal(image, stripes[:, 10:30])
    write_folder(tmp_path, tmp_path / "half", side=10, channels=3)
    half = load_file(tmp_path / "half")["images"][0]
    np.testing.assert_array_equal(half[:, 1:4], np.broadcast_to((0, 255, 0), (10, 3, 3)))
    np.testing.assert_array_equal(half[:, 6:9], np.broadcast_to((0, 0, 255), (10, 3, 3)))


@settings(max_examples=30, deadline=None)
@given(width=st.integers(1, 70), height=st.integers(1, 70), side=st.integers(8, 40))
def test_any_picture_becomes_a_square(
    tmp_path_factory: pytest.TempPathFactory, width: int, height: int, side: int
) -> None:
    folder = tmp_path_factory.mktemp("pictures")
    for name in ("a", "b"):
        (folder / name).mkdir()
        Image.new("RGBA", (width, height), (10, 200, 30, 255)).save(folder / name / "flat.png")
    write_folder(folder, folder / "set", side=side, channels=3)
    images = load_file(folder / "set")["images"]
    assert images.shape == (2, side, side, 3)
    np.testing.assert_array_equal(images, np.broadcast_to((10, 200, 30), images.shape))


def test_a_photograph_is_turned_as_its_camera_says(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    upright = np.zeros((16, 16), np.uint8)
    upright[:8] = 255
    Image.fromarray(upright).save(tmp_path / "a" / "upright.png")
    turned = Image.Exif()
    turned[0x0112] = 3  # orientation: upside down
    Image.fromarray(upright).save(tmp_path / "b" / "turned.png", exif=turned)
    write_folder(tmp_path, tmp_path / "set", side=16, channels=1)
    images = load_file(tmp_path / "set")["images"]
    np.testing.assert_array_equal(images[1], images[0][::-1])


def test_an_image_set_larger_than_the_memory_it_takes(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (1500, 256, 256, 1), dtype=np.uint8)  # 98 MB
    np.savez(tmp_path / "large.npz", images=images, labels=np.arange(1500) % 2)
    tracemalloc.start()
    try:
        write_npz(tmp_path / "large.npz", tmp_path / "large")
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < images.nbytes / 2
    with safe_open(tmp_path / "large", "np") as file:
        np.testing.assert_array_equal(file.get_slice("images")[1400:], images[1400:])


def _broken(folder: Path) -> str:
    (folder / "1" / "torn.png").write_bytes((folder / "1" / "00001.png").read_bytes()[:60])
    return "torn.png"


def _text(folder: Path) -> str:
    (folder / "1" / "text.jpg").write_text("not an image")
    return "text.jpg"


def _empty_class(folder: Path) -> str:
    (folder / "empty").mkdir()
    return "empty"


def _loose(folder: Path) -> str:
    (folder / "loose.png").write_bytes((folder / "1" / "00001.png").read_bytes())
    return "loose.png"


def _deep(folder: Path) -> str:
    Image.fromarray(np.zeros((16, 16), np.uint16)).save(folder / "1" / "deep.png")
    return "8 bits"


def _script(folder: Path) -> str:
    # Pillow would have Ghostscript run it
    drawn = "%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n%%EOF\n"
    (folder / "1" / "script.png").write_text(drawn)
    return "script.png cannot be read"


def _one_class(folder: Path) -> str:
    for entry in list(folder.iterdir()):
        if entry.name != "1":
            entry.rename(folder / f".{entry.name}")
    return "two class folders"


@pytest.mark.parametrize("spoil", [_broken, _text, _empty_class, _loose, _deep, _script, _one_class])
def test_what_cannot_be_imported_is_named(tmp_path: Path, spoil: Any) -> None:
    folder = tmp_path / "folder"
    draw(folder, *digits(20))
    write_folder(folder, tmp_path / "good", side=SIDE, channels=1)
    says = spoil(folder)
    with pytest.raises(InputError, match=says):
        write_folder(folder, tmp_path / "bad", side=SIDE, channels=1)


IMAGES = np.zeros((4, 8, 8), np.uint8)
LABELS = np.array([0, 1, 0, 1])


@pytest.mark.parametrize(
    ("arrays", "says"),
    [
        ({"images": IMAGES}, "no array `labels`"),
        ({"labels": LABELS}, "no array `images`"),
        ({"images": IMAGES / 255, "labels": LABELS}, "must be uint8"),
        ({"images": IMAGES[:, :6], "labels": LABELS}, r"\(n, side, side\)"),
        ({"images": IMAGES[:0], "labels": LABELS[:0]}, r"\(n, side, side\)"),
        ({"images": IMAGES[..., None].repeat(2, 3), "labels": LABELS}, "1 channel or 3"),
        ({"images": np.array([np.zeros((8, 8)), np.zeros((9, 9))], dtype=object), "labels": LABELS}, "mixed sizes"),
        ({"images": np.asfortranarray(np.eye(8, dtype=np.uint8)[None].repeat(4, 0)), "labels": LABELS}, "Fortran"),
        ({"images": IMAGES, "labels": LABELS[:3]}, "must be 4 integers"),
        ({"images": IMAGES, "labels": LABELS / 2}, "must be 4 integers"),
        ({"images": IMAGES, "labels": LABELS - 1}, "count from 0"),
        ({"images": IMAGES, "labels": LABELS, "classes": np.array(["cat"])}, "names only 1"),
    ],
)
def test_arrays_that_cannot_be_imported_are_named(tmp_path: Path, arrays: Any, says: str) -> None:
    np.savez(tmp_path / "bad.npz", **arrays)
    with pytest.raises(InputError, match=says):
        write_npz(tmp_path / "bad.npz", tmp_path / "set")


def header(shape: tuple[int, ...], kind: str = "|u1") -> bytes:
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": kind, "fortran_order": False, "shape": shape})
    return file.getvalue()


def forged(path: Path, method: int = zipfile.ZIP_DEFLATED, **members: bytes) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(f"{name}.npy", content)
    return path


FEW = header((4, 8, 8)) + bytes(256)
TWO = header((4,), "<i8") + np.array([0, 1, 0, 1], "<i8").tobytes()
FORGED = {
    "a class of a billion": ({"images": FEW, "labels": header((4,), "<i8") + b"\0\xca\x9a\x3b\0\0\0\0" * 4}, "at most"),
    "labels that unfold": ({"images": FEW, "labels": header((4,), "<i8") + bytes(2**28)}, None),
    "labels that say they unfold": ({"images": FEW, "labels": header((2**40,), "<i8") + bytes(2**20)}, "one label"),
    "labels without a size": ({"images": FEW, "labels": header((4,), "|V0")}, "one label"),
    "labels cut short": ({"images": FEW, "labels": TWO[:-9]}, "ends early"),
    "images cut short": ({"images": FEW[:-9], "labels": TWO}, "ends early"),
    "images of terabytes": ({"images": header((4, 2**24, 2**24)), "labels": TWO}, "pixels a side"),
    "more images than labels": ({"images": header((10**9, 4096, 4096)), "labels": TWO}, "1000000000 integers"),
    "images of petabytes": (
        {"images": header((10**5, 4096, 4096, 3)), "labels": header((10**5,), "<i8") + bytes(8 * 10**5)},
        "cannot hold|ends early",
    ),
    "names that unfold": ({"images": FEW, "labels": TWO, "classes": header((10**9,), "<U9")}, "one name a class"),
    "a name and no list": ({"images": FEW, "labels": TWO, "classes": header((), "<U1") + bytes(4)}, "list of names"),
    "a header without end": (
        {"images": b"\x93NUMPY\2\0\xff\xff\xff\x7f" + b" " * 2**26, "labels": TWO},
        "not a numpy array",
    ),
    "a header of brackets": ({"images": b"\x93NUMPY\1\0\x0f\x27" + b"(" * 9999, "labels": TWO}, "not a numpy array"),
    "a type that is none": ({"images": header((4, 8, 8)).replace(b"|u1", b"|q9"), "labels": TWO}, "not a numpy array"),
}  # fmt: skip


@pytest.mark.parametrize(("members", "says"), FORGED.values(), ids=FORGED)
def test_a_forged_npz_is_refused_in_little_memory(tmp_path: Path, members: dict[str, bytes], says: str | None) -> None:
    path = forged(tmp_path / "forged.npz", **members)
    tracemalloc.start()
    try:
        if says is None:  # what follows the labels is not read
            assert write_npz(path, tmp_path / "set").n == 4
        else:
            with pytest.raises(InputError, match=says):
                write_npz(path, tmp_path / "set")
        assert tracemalloc.get_traced_memory()[1] < 50 * 2**20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(("offset", "value"), [(10, b"\x63"), (8, b"\x01")])
def test_an_archive_that_zipfile_cannot_read_is_named(tmp_path: Path, offset: int, value: bytes) -> None:
    path = forged(tmp_path / "odd.npz", images=FEW, labels=TWO)
    content = bytearray(path.read_bytes())
    entry = content.find(b"PK\1\2")
    content[entry + offset : entry + offset + 1] = value  # an unknown method; a password
    content[offset - 2 : offset - 1] = value
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"odd\.npz is not an \.npz archive"):
        write_npz(path, tmp_path / "set")


@settings(max_examples=150, deadline=None)
@given(edits=st.lists(st.tuples(st.integers(0, 500), st.integers(0, 255)), min_size=1, max_size=6))
@example(edits=[(360, 1)])  # a member that begins before the file
def test_any_bytes_are_imported_or_refused_with_a_sentence(
    tmp_path_factory: pytest.TempPathFactory, edits: list[tuple[int, int]]
) -> None:
    folder = tmp_path_factory.mktemp("spoilt")
    content = bytearray(forged(folder / "spoilt.npz", images=FEW, labels=TWO).read_bytes())
    for position, value in edits:
        content[position % len(content)] = value
    (folder / "spoilt.npz").write_bytes(content)
    with contextlib.suppress(InputError):
        write_npz(folder / "spoilt.npz", folder / "set")


@pytest.mark.parametrize("size", [(60_000, 1), (1, 60_000)])
def test_a_strip_is_cut_before_it_is_made_larger(tmp_path: Path, size: tuple[int, int]) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        Image.new("L", size, 77).save(tmp_path / name / "strip.png")
    started = time.monotonic()
    write_folder(tmp_path, tmp_path / "set", side=256, channels=3)
    assert time.monotonic() - started < 2  # resized whole, it takes a minute and gigabytes
    images = load_file(tmp_path / "set")["images"]
    np.testing.assert_array_equal(images, np.full((2, 256, 256, 3), 77, np.uint8))


def test_an_npz_that_is_none_is_named(tmp_path: Path) -> None:
    (tmp_path / "bad.npz").write_text("hello")
    with pytest.raises(InputError, match=r"bad\.npz is not an \.npz"):
        write_npz(tmp_path / "bad.npz", tmp_path / "set")


def test_class_names_come_from_the_archive(tmp_path: Path) -> None:
    np.savez(tmp_path / "named.npz", images=IMAGES, labels=LABELS, classes=np.array(["cat", "dög"]))
    assert write_npz(tmp_path / "named.npz", tmp_path / "set").classes == ("cat", "dög")
    header_bytes = int.from_bytes((tmp_path / "set").read_bytes()[:8], "little")
    assert json.loads((tmp_path / "set").read_bytes()[8 : 8 + header_bytes])["images"]["shape"] == [4, 8, 8, 1]
