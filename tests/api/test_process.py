"""`python -m api` as it runs: what it loads, how much memory it takes, how it listens and how it ends."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from safetensors.numpy import save
from sqlalchemy import func, select

from registry.settings import Settings
from registry.tables import ModelRow
from tests.api.test_models import CHECKPOINT, METADATA
from tests.api.world import World

MEBIBYTE = 2**20
MAX_MEBIBYTES = 200


@pytest.fixture
def environment(settings: Settings) -> dict[str, str]:
    """What a process on this test's database is told."""
    return {
        **os.environ,
        "DATABASE_URL": settings.database_url,
        "REDIS_URL": settings.redis_url,
        "SAT_ARTIFACTS": settings.artifacts,
        "SAT_CACHE": str(settings.cache),
        "SAT_KEYS": "loopback",
        "SAT_ALLOWED_HOSTS": "127.0.0.1,here",
        "SAT_MAX_UPLOAD_BYTES": str(400 * MEBIBYTE),
    }


@contextmanager
def running(environment: dict[str, str], log: Path) -> Iterator[tuple[subprocess.Popen[bytes], httpx.Client]]:
    """A real process on an inherited socket, and a client of it."""
    with socket.create_server(("127.0.0.1", 0)) as listener, log.open("wb") as output:
        port, fd = listener.getsockname()[1], listener.fileno()
        process = subprocess.Popen(
            [sys.executable, "-m", "api"],
            env=environment | {"SAT_FD": str(fd)},
            pass_fds=[fd],
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
        try:
            # the socket listens already: the first request waits for the process
            assert client.get("/healthz").json() == {"status": "ok"}
            yield process, client
        finally:
            process.kill()
            process.wait()


def memory_mebibytes(process: subprocess.Popen[bytes], field: str = "VmRSS") -> float:
    status = Path(f"/proc/{process.pid}/status").read_text(encoding="ascii")
    (kilobytes,) = re.findall(rf"{field}:\s+(\d+) kB", status)
    return int(kilobytes) / 1024


def heavy_files(process: subprocess.Popen[bytes]) -> list[str]:
    maps = Path(f"/proc/{process.pid}/maps").read_text(encoding="utf-8")
    return sorted(set(re.findall(r"\S*(?:libtorch|libc10|/sklearn/|/scipy/|/torchvision/)\S*", maps)))


def test_importing_the_app_loads_neither_torch_nor_scikit_learn() -> None:
    heavy = "{'torch', 'torchvision', 'timm', 'sklearn', 'scipy'}"
    command = f"import api.app, api.__main__, sys; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", command], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_a_busy_process_stays_light(environment: dict[str, str], zoo: World, tmp_path: Path) -> None:
    with running(environment, tmp_path / "log") as (process, client):
        for path in (
            "/similar/vit-a",
            "/matrix",
            "/models",
            "/pairs/vit-a/vit-b",
            "/recommend/ensemble?n=3&wait=0",
            "/recommend/teacher?student=vit-a",
            "/comparisons",
            "/jobs",
            "/workers",
            "/readyz",
            "/openapi.json",
        ):
            assert client.get(path).status_code == 200, path
        register(client)
        assert heavy_files(process) == []
        assert memory_mebibytes(process) < MAX_MEBIBYTES


def register(client: httpx.Client) -> None:
    form = {"metadata": json.dumps(METADATA | {"name": "uploaded"})}
    answer = client.post("/models", data=form, files={"checkpoint": ("a.safetensors", CHECKPOINT)})
    assert answer.status_code == 202, answer.text


def test_a_large_upload_passes_through_little_memory(environment: dict[str, str], world: World, tmp_path: Path) -> None:
    checkpoint = tmp_path / "large.safetensors"
    size = 300 * MEBIBYTE
    header = json.dumps({"a": {"dtype": "U8", "shape": [size], "data_offsets": [0, size]}}).encode()
    with checkpoint.open("wb") as file:
        file.write(len(header).to_bytes(8, "little") + header)
        file.truncate(8 + len(header) + size)
    with running(environment, tmp_path / "log") as (process, client):
        with checkpoint.open("rb") as file:
            form = {"metadata": json.dumps(METADATA)}
            answer = client.post("/models", data=form, files={"checkpoint": ("large.safetensors", file)})
        assert answer.status_code == 202, answer.text
        assert memory_mebibytes(process, "VmHWM") < MAX_MEBIBYTES


def test_a_client_that_leaves_leaves_nothing_behind(environment: dict[str, str], world: World, tmp_path: Path) -> None:
    spool = tmp_path / "artifacts" / "spool"
    body = (
        b'--X\r\nContent-Disposition: form-data; name="metadata"\r\n\r\n'
        + json.dumps(METADATA).encode()
        + b'\r\n--X\r\nContent-Disposition: form-data; name="checkpoint"; filename="a"\r\n\r\n'
        + save({})
    )
    with running(environment, tmp_path / "log") as (_, client):
        url = client.base_url
        with socket.create_connection((url.host, url.port)) as connection:
            head = "POST /models HTTP/1.1\r\nHost: here\r\nContent-Type: multipart/form-data; boundary=X\r\n"
            connection.sendall(f"{head}Content-Length: {len(body) + 10_000}\r\n\r\n".encode() + body)
            wait_until(lambda: any(spool.glob("upload-*")))
        wait_until(lambda: not any(spool.iterdir()))
        assert client.get("/models").json()["total"] == 0
    with world.sessions() as session:
        assert session.scalar(select(func.count()).select_from(ModelRow)) == 0


def test_too_large_is_said_without_reading_the_rest(environment: dict[str, str], world: World, tmp_path: Path) -> None:
    with running(environment | {"SAT_MAX_UPLOAD_BYTES": "1000"}, tmp_path / "log") as (_, client):
        url = client.base_url
        with socket.create_connection((url.host, url.port), timeout=20) as connection:
            head = "POST /models HTTP/1.1\r\nHost: here\r\nContent-Type: multipart/form-data; boundary=X\r\n"
            connection.sendall(f"{head}Content-Length: {10**12}\r\n\r\n".encode())
            answer = b""
            while received := connection.recv(65536):
                answer += received
        assert answer.startswith(b"HTTP/1.1 413")
        assert b"SAT_MAX_UPLOAD_BYTES" in answer


def test_a_request_under_way_is_answered_before_the_process_ends(
    environment: dict[str, str], zoo: World, tmp_path: Path
) -> None:
    with running(environment, tmp_path / "log") as (process, client):
        url = client.base_url
        with socket.create_connection((url.host, url.port), timeout=20) as connection:
            # nobody computes clusters: the answer comes when the wait is over
            connection.sendall(b"GET /clusters?k=2&wait=1.5 HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n")
            time.sleep(0.5)
            process.send_signal(signal.SIGTERM)
            answer = b""
            while received := connection.recv(65536):
                answer += received
        assert answer.startswith(b"HTTP/1.1 202")
        assert process.wait(10) in {0, -signal.SIGTERM}


def test_answers_do_not_wait_for_acknowledgements(environment: dict[str, str], zoo: World, tmp_path: Path) -> None:
    with running(environment, tmp_path / "log") as (_, client):
        seconds = []
        for _ in range(100):
            started = time.perf_counter()
            client.get("/similar/vit-a")
            seconds.append(time.perf_counter() - started)
    # without TCP_NODELAY on the inherited socket, a delayed ACK adds 40 ms to most of them
    assert sorted(seconds)[50] < 0.03


def test_its_log_is_json_without_a_line_for_each_read(
    environment: dict[str, str], world: World, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    with running(environment, log) as (process, client):
        for _ in range(5):
            client.get("/matrix")
        client.post("/protocols", json={"name": "pgd", "steps": 50}, headers={"X-Request-Id": "mine"})
        process.terminate()
        process.wait(10)
    lines = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    requests = [line for line in lines if line["event"] == "request"]
    assert [(line["request_id"], line["method"], line["path"]) for line in requests] == [("mine", "POST", "/protocols")]


def test_a_missing_setting_ends_the_process_with_its_name() -> None:
    bare = {name: value for name, value in os.environ.items() if name not in {"DATABASE_URL", "REDIS_URL"}}
    done = subprocess.run(
        [sys.executable, "-m", "api"],
        env=bare | {"SAT_ARTIFACTS": "here"},
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert done.returncode != 0
    assert "DATABASE_URL" in done.stderr


def wait_until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)
