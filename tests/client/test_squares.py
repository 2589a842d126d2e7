"""Importing real images: digits drawn as PNG files, and the same as arrays."""

import hashlib
import json
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
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


def _one_class(folder: Path) -> str:
    for entry in list(folder.iterdir()):
        if entry.name != "1":
            entry.rename(folder / f".{entry.name}")
    return "two class folders"


@pytest.mark.parametrize("spoil", [_broken, _text, _empty_class, _loose, _deep, _one_class])
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


def test_an_npz_that_is_none_is_named(tmp_path: Path) -> None:
    (tmp_path / "bad.npz").write_text("hello")
    with pytest.raises(InputError, match=r"bad\.npz is not an \.npz"):
        write_npz(tmp_path / "bad.npz", tmp_path / "set")


def test_class_names_come_from_the_archive(tmp_path: Path) -> None:
    np.savez(tmp_path / "named.npz", images=IMAGES, labels=LABELS, classes=np.array(["cat", "dög"]))
    assert write_npz(tmp_path / "named.npz", tmp_path / "set").classes == ("cat", "dög")
    header_bytes = int.from_bytes((tmp_path / "set").read_bytes()[:8], "little")
    assert json.loads((tmp_path / "set").read_bytes()[8 : 8 + header_bytes])["images"]["shape"] == [4, 8, 8, 1]
