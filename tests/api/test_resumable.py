"""A file in pieces: a connection that breaks loses nothing that arrived, and the pieces become one model."""

import json
import socket
from pathlib import Path

import httpx
import numpy as np
import pytest
from safetensors.numpy import save

from tests.api.conftest import Api
from tests.api.test_models import CHECKPOINT, METADATA
from tests.api.test_process import environment, running, wait_until  # noqa: F401  a fixture among them
from tests.api.world import World

PIECE = {"Content-Type": "application/octet-stream"}


def begin(api: Api, size: int) -> str:
    answer = api.post("/uploads", json={"bytes": size})
    assert answer.status_code == 201, answer.text
    path: str = answer.headers["location"]
    return path


def test_pieces_become_a_model_and_the_same_again_is_harmless(api: Api, world: World, tmp_path: Path) -> None:
    path = begin(api, len(CHECKPOINT))
    for start in range(0, len(CHECKPOINT), 20):
        answer = api.patch(path, content=CHECKPOINT[start : start + 20], headers=PIECE | {"Upload-Offset": str(start)})
        assert answer.status_code == 200, answer.text
    assert answer.json() == {
        "id": path.rpartition("/")[2],
        "bytes": len(CHECKPOINT),
        "offset": len(CHECKPOINT),
        "complete": True,
    }
    declared = METADATA | {"upload": path.rpartition("/")[2]}
    first, second = (api.post("/models", json=declared) for _ in range(2))
    assert (first.status_code, second.status_code) == (202, 202), (first.text, second.text)
    assert first.json()["created_at"] == second.json()["created_at"]
    assert api.get(f"{first.headers['location']}/checkpoint").content == CHECKPOINT
    assert not list((tmp_path / "artifacts" / "spool").glob("resumable-*"))


def test_a_wrong_offset_is_told_the_right_one(api: Api, world: World) -> None:
    path = begin(api, 10)
    api.patch(path, content=b"abcd", headers=PIECE | {"Upload-Offset": "0"})
    for offset in ("0", "3", "5", "10"):
        answer = api.patch(path, content=b"x", headers=PIECE | {"Upload-Offset": offset})
        assert (answer.status_code, answer.json()["offset"]) == (409, 4)
    assert api.get(path).json()["offset"] == 4


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"bytes": 0}, 422), ({"bytes": -1}, 422), ({"bytes": 10**9}, 413), ({"bytes": "9"}, 422), ({}, 422),
    ],
)  # fmt: skip
def test_a_size_that_cannot_be_is_refused_before_a_byte_is_sent(api: Api, change: dict, status: int) -> None:
    assert api.post("/uploads", json=change).status_code == status


def test_more_than_was_announced_and_half_a_file_are_refused(api: Api, world: World) -> None:
    path = begin(api, 4)
    answer = api.patch(path, content=b"abcde", headers=PIECE | {"Upload-Offset": "0"})
    assert answer.status_code == 413
    half = api.post("/models", json=METADATA | {"upload": path.rpartition("/")[2]})
    assert half.status_code == 422
    assert "still to come" in half.json()["detail"]
    assert api.delete(path).status_code == 204
    assert api.get(path).status_code == 404


def test_a_connection_that_breaks_keeps_what_came(
    environment: dict[str, str],  # noqa: F811  the fixture
    world: World,
    tmp_path: Path,
) -> None:
    content = save({"head.weight": np.random.default_rng(0).random((400, 1000))})
    with running(environment, tmp_path / "log") as (_, client):
        path = client.post("/uploads", json={"bytes": len(content)}).headers["location"]
        url = client.base_url
        with socket.create_connection((url.host, url.port), timeout=20) as connection:
            head = (
                f"PATCH {path} HTTP/1.1\r\nHost: here\r\nContent-Type: application/octet-stream\r\nUpload-Offset: 0\r\n"
            )
            connection.sendall(f"{head}Content-Length: {len(content)}\r\n\r\n".encode() + content[: 2 * 10**6])
        wait_until(lambda: 0 < client.get(path).json()["offset"] <= 2 * 10**6)
        wait_until(lambda: _takes(client, path, content))
        declared = METADATA | {"upload": path.rpartition("/")[2]}
        answer = client.post("/models", content=json.dumps(declared), headers={"Content-Type": "application/json"})
        assert answer.status_code == 202, answer.text
        assert client.get(f"{answer.headers['location']}/checkpoint").content == content


def _takes(client: httpx.Client, path: str, content: bytes) -> bool:
    """Whether the rest was taken; the request that broke off may still be writing."""
    offset = client.get(path).json()["offset"]
    answer = client.patch(path, content=content[offset:], headers=PIECE | {"Upload-Offset": str(offset)})
    return answer.status_code == 200
