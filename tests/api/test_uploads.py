"""Uploads that are cut short, too large, foreign or malformed: each says what to do and leaves nothing behind."""

import json
import pickle
import resource
import zipfile
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save
from sqlalchemy import func, select

from registry.tables import ArtifactRow, ModelRow
from tests.api.conftest import Api
from tests.api.test_models import CHECKPOINT, METADATA
from tests.api.world import World

BOUNDARY = "X"
LIMIT = 1_000_000  # as the settings of these tests say


def part(name: str, content: bytes, filename: str | None = None) -> bytes:
    file = f'; filename="{filename}"' if filename else ""
    return f'--X\r\nContent-Disposition: form-data; name="{name}"{file}\r\n\r\n'.encode() + content + b"\r\n"


def form(*parts: bytes) -> bytes:
    return b"".join(parts) + b"--X--\r\n"


def send(api: Api, body: bytes | Iterator[bytes], content_type: str = "multipart/form-data; boundary=X"):
    return api.post("/models", content=body, headers={"Content-Type": content_type})


META = part("metadata", json.dumps(METADATA).encode())
FILE = part("checkpoint", CHECKPOINT, "a.safetensors")


@pytest.fixture(autouse=True)
def nothing_is_left_behind(world: World, tmp_path: Path) -> Iterator[None]:
    yield
    with world.sessions() as session:
        assert session.scalar(select(func.count()).select_from(ModelRow)) == 0
        assert session.scalar(select(func.count()).where(ArtifactRow.kind == "checkpoint")) == 0
    assert [path for path in (tmp_path / "artifacts").rglob("*") if path.is_file()] == []


@pytest.mark.parametrize("kept", [0.2, 0.5, 0.9])
def test_a_body_that_ends_early_is_called_truncated(api: Api, kept: float) -> None:
    whole = form(META, part("checkpoint", CHECKPOINT * 100, "a.safetensors"))
    answer = send(api, whole[: int(kept * len(whole))])
    assert answer.status_code == 422
    assert "truncated" in answer.json()["detail"]


def test_a_file_that_ends_early_is_refused_with_the_missing_bytes(api: Api) -> None:
    answer = send(api, form(META, part("checkpoint", CHECKPOINT[:-3], "a.safetensors")))
    assert answer.status_code == 422
    assert "3 bytes short: it is truncated" in answer.json()["detail"]


def test_a_file_over_the_limit_is_413_before_it_is_read(api: Api) -> None:
    sent = 0

    def body() -> Iterator[bytes]:
        nonlocal sent
        yield META + part("checkpoint", b"", "a.safetensors").removesuffix(b"\r\n")
        for _ in range(200):
            sent += 50_000
            yield b"\0" * 50_000

    answer = send(api, body())
    assert answer.status_code == 413
    assert str(LIMIT) in answer.json()["detail"]
    assert answer.headers["connection"] == "close"
    declared = api.post(
        "/models",
        content=b"",
        headers={"Content-Type": "multipart/form-data; boundary=X", "Content-Length": str(10 * LIMIT + 10**7)},
    )
    assert declared.status_code == 413


def test_metadata_over_its_limit_is_413(api: Api) -> None:
    answer = send(api, form(part("metadata", b" " * (4 * 2**20 + 1)), FILE))
    assert answer.status_code == 413
    assert "`metadata`" in answer.json()["detail"]


def zipped(name: str) -> bytes:
    file = BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(name, b"")
    return file.getvalue()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (zipped("images.npy"), "zip archive"),
        (pickle.dumps({"a": 1}, protocol=2), "which can run code"),
        (pickle.dumps([1] * 300, protocol=4), "which can run code"),
    ],
)
def test_an_archive_or_pickle_that_torch_did_not_save_is_refused(api: Api, content: bytes, reason: str) -> None:
    answer = send(api, form(META, part("checkpoint", content, "model.pth")))
    assert answer.status_code == 422
    assert reason in answer.json()["detail"]
    assert "safetensors" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"GGUF" + b"\0" * 100, "no whole safetensors file"),
        (b"\xff" * 8, "no whole safetensors file"),
        ((2).to_bytes(8, "little") + b"[]", "not a JSON object"),
        (save({}), "holds no tensor"),
    ],
)
def test_a_foreign_file_is_refused_with_its_fault(api: Api, content: bytes, reason: str) -> None:
    answer = send(api, form(META, part("checkpoint", content, "a.safetensors")))
    assert answer.status_code == 422
    assert reason in answer.json()["detail"]


def test_a_header_that_only_looks_like_a_pickle_is_read(api: Api, world: World) -> None:
    # a header of 0x280 bytes begins with the bytes of pickle protocol 2
    header = json.dumps({"a": {"dtype": "U8", "shape": [1], "data_offsets": [0, 1]}}).ljust(0x280).encode()
    content = len(header).to_bytes(8, "little") + header + b"\0"
    assert content.startswith(b"\x80\x02")
    answer = send(api, form(part("metadata", b"{}"), part("checkpoint", content, "a.safetensors")))
    assert "`metadata`" in answer.json()["detail"]
    answer = send(
        api, form(part("metadata", json.dumps(METADATA | {"architecture": "no"}).encode()), part("checkpoint", content))
    )
    assert "pickle" not in answer.json()["detail"]
    with world.sessions.begin() as session:
        for row in session.scalars(select(ArtifactRow).where(ArtifactRow.kind == "checkpoint")):
            path = api.app.state.services.store.open_local(row.sha256)
            session.delete(row)
            path.unlink()


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (form(META), "send the checkpoint in the form field `checkpoint`"),
        (form(META, part("checkpoint", b"", "a.safetensors")), "send the checkpoint in the form field `checkpoint`"),
        (form(FILE), "`metadata` is missing"),
        (form(META, META, FILE), "there twice"),
        (form(META, FILE, part("colour", b"red")), "no form field 'colour'"),
        (form(part("metadata", b"{"), FILE), "no valid JSON"),
        (form(part("metadata", b"[]"), FILE), "not as expected"),
        (b"nothing like a form", "no valid multipart form"),
        (b"", "truncated"),
        (b"--X\r\nContent-Disposition: " + b"a" * 9000, "no valid multipart form"),
    ],
)
def test_a_form_that_lacks_something_is_told_what(api: Api, body: bytes, reason: str) -> None:
    answer = send(api, body)
    assert answer.status_code == 422
    assert reason in answer.json()["detail"]


@pytest.mark.parametrize(
    "content_type", ["application/octet-stream", "text/plain", "", "application/x-www-form-urlencoded"]
)
def test_other_content_types_are_415(api: Api, content_type: str) -> None:
    answer = send(api, b"x", content_type)
    assert answer.status_code == 415
    assert "`checkpoint`" in answer.json()["detail"]


def test_a_form_without_a_boundary_is_422(api: Api) -> None:
    assert "boundary" in send(api, b"x", "multipart/form-data").json()["detail"]


def test_fields_may_come_in_any_order_and_any_chunks(api: Api, world: World) -> None:
    body = form(part("checkpoint", save({"a": np.arange(2000)}), "a"), part("metadata", b'{"name": 1}'))
    answer = send(api, (body[start : start + 7] for start in range(0, len(body), 7)))
    assert answer.status_code == 422
    assert any(error["where"] == "name" for error in answer.json()["errors"])


def test_a_disk_that_takes_no_more_is_507_with_the_reason(api: Api) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        answer = send(api, form(META, part("checkpoint", CHECKPOINT * 100, "a.safetensors")))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert (answer.status_code, answer.headers["retry-after"]) == (507, "1")
    assert "File too large" in answer.json()["detail"]
    assert "SAT_ARTIFACTS" in answer.json()["detail"]


def test_a_spool_that_is_no_folder_is_503_with_the_reason(api: Api, tmp_path: Path) -> None:
    spool = tmp_path / "artifacts" / "spool"
    spool.rmdir()
    spool.touch()
    answer = send(api, form(META, FILE))
    assert answer.status_code == 503
    assert "File exists" in answer.json()["detail"]
    spool.unlink()


@pytest.mark.parametrize(
    ("declared", "reason"),
    [
        ({"architecture": "resnet5O"}, "did you mean resnet50"),
        ({"task": None, "classes": ["neither", "nor"]}, "missing"),
        ({"supersedes": "nobody"}, "no model 'nobody'"),
    ],
)
def test_a_declaration_that_is_refused_leaves_no_bytes_in_the_store(api: Api, declared: dict, reason: str) -> None:
    metadata = json.dumps(METADATA | declared).encode()
    answer = send(api, form(part("metadata", metadata), FILE))
    assert answer.status_code in {404, 422}
    assert reason in answer.json()["detail"]


@pytest.mark.parametrize(
    ("labels", "reason"), [([0, 9], "1 labels are outside"), ([0], "one an image"), ([0.5, 0.5], "must be integers")]
)
def test_an_image_set_that_is_refused_leaves_no_bytes_in_the_store(api: Api, labels: list, reason: str) -> None:
    content = save({"images": np.zeros((2, 4, 4, 1), np.uint8), "labels": np.array(labels)})
    metadata = part("metadata", json.dumps({"name": "refused", "classes": ["no", "yes"]}).encode())
    body = form(metadata, part("content", content, "a.safetensors"))
    answer = api.post("/image-sets", content=body, headers={"Content-Type": "multipart/form-data; boundary=X"})
    assert answer.status_code == 422
    assert reason in answer.json()["detail"]
