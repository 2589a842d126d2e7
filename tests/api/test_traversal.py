"""No path, link or URL of a client's is ever opened, on any route and in any spelling."""

import json
import socket
from itertools import product
from pathlib import Path
from tempfile import gettempdir
from typing import Any

import pytest
from starlette.types import Message

from api.app import create_app
from api.openapi import operations
from registry.settings import Settings
from tests.api.conftest import Api
from tests.api.test_models import CHECKPOINT, METADATA
from tests.api.world import World

SECRET = "what lies beside the store"
UP = (
    *("../", "..\\", "\\..\\", "%2e%2e%2f", "%2e%2e/", "..%5c", "%252e%252e%252f", "..\uff0f", "\uff0e\uff0e/"),
    *("..\u2215", "..\u2216", "..\ufffd\ufffd", "....//", "./../", "..;/", "/../", "\0../"),
)
TARGETS = ("secret", "artifacts/secret", "secret\0.safetensors", "secret/.")
# as the router gets them: a server decodes a path once
SPELLINGS = sorted({f"{up * count}secret" for up in UP for count in (1, 2)})
SPELLINGS += ["/etc/passwd", "//etc/passwd", "C:\\secret", "\\\\host\\share", "file:///etc/passwd", *TARGETS]
SETTINGS = Settings.model_validate({"database_url": "none", "redis_url": "redis://none", "artifacts": gettempdir()})
NAMED = sorted((path, method) for path, method, _ in operations(create_app(SETTINGS).openapi()) if "{" in path)


async def call(api: Api, method: str, path: str) -> tuple[int, bytes]:
    """Status and body of a request whose path arrives exactly so."""
    answered: list[Message] = []
    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": method.upper(), "scheme": "http",
        "path": path, "raw_path": path.encode("utf-8", "surrogateescape"), "root_path": "", "query_string": b"",
        "headers": [(b"host", b"testserver"), (b"if-match", b"*"), (b"content-type", b"application/json")],
        "client": ("127.0.0.1", 1), "server": ("testserver", 80), "state": {},
    }  # fmt: skip
    ended = False

    async def receive() -> Message:
        nonlocal ended
        message: Message = {"type": "http.disconnect" if ended else "http.request", "body": b"{}", "more_body": False}
        ended = True
        return message

    async def send(message: Message) -> None:
        answered.append(message)

    await api.app(scope, receive, send)
    return answered[0]["status"], b"".join(message.get("body", b"") for message in answered)


@pytest.fixture
def files(tmp_path: Path) -> dict[Path, bytes]:
    """Files in and around the artifact store, which no request names rightly."""
    (tmp_path / "artifacts").mkdir(exist_ok=True)
    for path in (tmp_path / "secret", tmp_path / "artifacts" / "secret", tmp_path.parent / "secret"):
        path.write_text(SECRET)
    return content_of(tmp_path)


def content_of(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_no_spelling_of_a_path_leads_to_a_file(
    api: Api, world: World, files: dict[Path, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("registry.reads.watch.LOOK_AGAIN_SECONDS", 0.0)  # nearly every name is one that there is not
    assert len(NAMED) >= 25
    for path, method in NAMED:
        parts = [part for part in path.split("/") if part.startswith("{")]
        for spelling, part in product(SPELLINGS, parts):
            asked = path.replace(part, spelling)
            for other in parts:
                asked = asked.replace(other, "digits")
            status, body = api.portal.call(call, api, method, asked)
            assert 400 <= status < 500, (method, asked, status, body[:200])
            assert SECRET.encode() not in body, asked
    assert content_of(tmp_path) == files


def test_no_spelling_in_a_body_leads_to_a_file(
    api: Api, world: World, files: dict[Path, bytes], tmp_path: Path
) -> None:
    for spelling in SPELLINGS:
        for field in ("name", "architecture", "task", "source", "upload", "pretrained", "supersedes"):
            body = json.dumps(METADATA | {"pretrained": "a1_in1k"} | {field: spelling})
            answer = api.post("/models", content=body, headers={"Content-Type": "application/json"})
            assert answer.status_code in {404, 422}, (field, spelling, answer.text)
            assert SECRET not in answer.text
        form: dict[str, Any] = {"metadata": json.dumps(METADATA | {"architecture": spelling})}
        name = spelling.encode("ascii", "ignore").decode().replace("\0", "").replace('"', "")
        answer = api.post("/models", data=form, files={"checkpoint": (name, CHECKPOINT)})
        assert answer.status_code == 422, answer.text
    assert content_of(tmp_path) == files


def test_nothing_is_fetched_from_a_url(api: Api, world: World) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.5)
        address = f"127.0.0.1:{listener.getsockname()[1]}"
        for scheme in ("http", "https", "ftp", "file", "s3", "hf-hub", "local-dir", "git+http", "//"):
            url = f"{scheme}://{address}/a.safetensors".replace("////", "//")
            for field in ("architecture", "pretrained", "source", "upload", "task", "supersedes", "url", "checkpoint"):
                for declared in (METADATA | {field: url}, METADATA | {"pretrained": "a1_in1k", field: url}):
                    answer = api.post("/models", json=declared)
                    assert answer.status_code in {404, 422}, (field, url, answer.text)
        with pytest.raises(TimeoutError):
            listener.accept()
