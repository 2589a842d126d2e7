"""Registering from an operator's folders: keys below them are read, nothing else ever is."""

import io
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from httpx import Response
from pydantic import ValidationError

from registry.errors import InvalidError, NotFoundError, RegistryError, TooLargeError
from registry.settings import Settings
from registry.sources import copy_source
from tests.api.conftest import Api
from tests.api.test_models import CHECKPOINT, METADATA
from tests.api.test_models import register as upload
from tests.api.world import World


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """An operator's folder with a checkpoint two folders deep, and a secret outside."""
    folder = tmp_path / "operator" / "zoo"
    (folder / "2026" / "resnets").mkdir(parents=True)
    (folder / "2026" / "resnets" / "a.safetensors").write_bytes(CHECKPOINT)
    (tmp_path / "operator" / "secret").write_bytes(CHECKPOINT)
    return folder


@pytest.fixture
def api(start: Callable[..., Api], root: Path) -> Api:
    """An api that may read the folder as `zoo`."""
    return start(sources={"zoo": root})


def register(api: Api, source: object, **more: Any) -> Response:
    return api.post("/models", json=METADATA | {"source": source} | more)


def test_a_file_of_the_operators_is_registered_and_kept(api: Api, world: World, root: Path) -> None:
    answer = register(api, "zoo/2026/resnets/a.safetensors")
    assert (answer.status_code, answer.json()["source"]) == (202, "upload")
    (root / "2026" / "resnets" / "a.safetensors").unlink()  # a copy was made
    assert api.get("/models/resnet-a/checkpoint").content == CHECKPOINT


def test_the_same_file_sent_or_named_is_the_same_model(api: Api, world: World) -> None:
    assert upload(api).status_code == 202
    assert register(api, "zoo/2026/resnets/a.safetensors").status_code == 202
    assert api.get("/models").json()["total"] == 1


REFUSED = [
    "zoo",
    "zoo/",
    "/etc/passwd",
    "etc/passwd",
    "zoo/../secret",
    "zoo/2026/../../secret",
    "zoo/2026/./resnets/a.safetensors",
    "zoo//2026/resnets/a.safetensors",
    "zoo/..\\secret",
    "zoo\\..\\secret",
    "zoo/%2e%2e/secret",
    "zoo/2026",
    "zoo/2026/resnets/a.safetensors/x",
    "zoo/none",
    "file:///etc/passwd",
    "zoo/link",
    "zoo/folder/secret",
    "zoo/absolute",
    "zoo/pipe",
    "zoo/loop",
    "zoo/device",
]


def test_nothing_outside_is_ever_opened(api: Api, world: World, root: Path) -> None:
    (root / "link").symlink_to("../secret")
    (root / "folder").symlink_to("..")
    (root / "absolute").symlink_to("/etc/passwd")
    (root / "loop").symlink_to("loop")
    (root / "device").symlink_to("/dev/zero")
    os.mkfifo(root / "pipe")
    for source in REFUSED:
        answer = register(api, source)
        assert answer.status_code in {404, 422}, (source, answer.text)
        assert answer.json()["detail"], source
        with pytest.raises(RegistryError):
            copy_source({"zoo": root}, source, io.BytesIO(), 10_000_000)
    for source in ("zoo/\0", "zoo/a\0b", "x" * 201, 7, ["zoo"]):
        assert register(api, source).status_code == 422, source
    assert api.get("/models").json()["total"] == 0


def test_a_link_that_comes_between_is_not_followed(root: Path) -> None:
    """However the folder is exchanged while it is read, what comes out is never what lies outside."""
    (root.parent / "secret").write_bytes(b"secret")
    inside, outside = root / "swapped", root.parent
    (root / "kept").mkdir()
    (root / "kept" / "secret").write_bytes(b"public")
    stop = threading.Event()

    def swap() -> None:
        while not stop.is_set():
            for target in (outside, root / "kept"):
                (root / "next").symlink_to(target)
                (root / "next").replace(inside)
            inside.unlink()
            (root / "kept").rename(inside)
            inside.rename(root / "kept")

    thread = threading.Thread(target=swap)
    thread.start()
    read = set()
    try:
        for _ in range(300):
            buffer = io.BytesIO()
            try:
                copy_source({"zoo": root}, "zoo/swapped/secret", buffer, 100)
            except (InvalidError, NotFoundError):
                continue
            read.add(buffer.getvalue())
    finally:
        stop.set()
        thread.join()
    assert read <= {b"public"}


def test_a_file_that_is_too_large_is_refused(api: Api, world: World, root: Path) -> None:
    (root / "large").write_bytes(b"x" * 1_000_001)
    assert register(api, "zoo/large").status_code == 413
    with pytest.raises(TooLargeError, match="SAT_MAX_UPLOAD_BYTES"):
        copy_source({"zoo": root}, "zoo/large", io.BytesIO(), 10)


def test_what_is_no_checkpoint_leaves_nothing_behind(api: Api, world: World, root: Path, tmp_path: Path) -> None:
    (root / "text").write_text("hello")
    assert register(api, "zoo/text").status_code == 422
    assert [path for path in (tmp_path / "artifacts").rglob("*") if path.is_file()] == []


def test_a_file_and_a_source_are_one_too_many(api: Api, world: World) -> None:
    assert upload(api, source="zoo/2026/resnets/a.safetensors").status_code == 422
    both = register(api, "zoo/2026/resnets/a.safetensors", pretrained="a1_in1k", architecture="resnet18")
    assert both.status_code == 422


def test_without_roots_no_source_is_taken(start: Callable[..., Api], world: World) -> None:
    answer = register(start(), "zoo/2026/resnets/a.safetensors")
    assert answer.status_code == 422
    assert "SAT_SOURCES" in answer.json()["detail"]


def test_the_setting_names_each_folder(settings: Settings) -> None:
    given = settings.model_dump() | {"sources": "zoo=/data/zoo, more=/mnt/a=b"}
    assert Settings.model_validate(given).sources == {"zoo": Path("/data/zoo"), "more": Path("/mnt/a=b")}
    for wrong in ("/data/zoo", "zoo=relative", "a b=/data"):
        with pytest.raises(ValidationError, match="absolute path"):
            Settings.model_validate(given | {"sources": wrong})
