"""A large checkpoint goes in pieces, and a connection that breaks within one costs that piece at most."""

import socket
import threading
from contextlib import closing, suppress
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest
from safetensors.numpy import save_file

from client import pieces
from client.registry import Registry
from tests.client.conftest import real_url  # noqa: F401  a fixture

PIECE = 200_000
CUT_AFTER = 500_000  # bytes from the client: within the third piece


class Cutting:
    """A proxy that resets its first connection once so many bytes came from the client over it."""

    def __init__(self, url: str, after: int) -> None:
        address = urlsplit(url)
        self._upstream = (address.hostname, address.port)
        self._after = after
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.counts: list[int] = []  # bytes from the client, by connection
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(self._upstream)
                self.counts.append(0)
                index = len(self.counts) - 1
                for ends in ((client, server, index), (server, client, None)):
                    threading.Thread(target=self._pump, args=ends, daemon=True).start()

    def _pump(self, source: socket.socket, target: socket.socket, index: int | None) -> None:
        with suppress(OSError):
            while (chunk := source.recv(16_384)) and not self._is_over(chunk, index):
                target.sendall(chunk)
        for each in (source, target):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def _is_over(self, chunk: bytes, index: int | None) -> bool:
        if index is None:
            return False
        self.counts[index] += len(chunk)
        return index == 0 and self.counts[0] > self._after


@pytest.fixture
def checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkpoint of 1 MB, which counts as large here."""
    monkeypatch.setattr(pieces, "RESUMABLE_BYTES", 2 * PIECE)
    monkeypatch.setattr(pieces, "PIECE_BYTES", PIECE)
    path = tmp_path / "large.safetensors"
    save_file({"weight": np.random.default_rng(0).random((250, 500))}, path)
    return path


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_a_cut_connection_costs_less_than_a_piece(
    real_url: str,  # noqa: F811  the fixture
    checkpoint: Path,
    tmp_path: Path,
) -> None:
    size, ticks = checkpoint.stat().st_size, list[int]()
    metadata = {
        "name": "large", "architecture": "test_resnet", "classes": ["no", "yes"],
        "input": {"size": 32, "channels": 1, "mean": [0.5], "std": [0.5]},
    }  # fmt: skip
    with closing(Cutting(real_url, CUT_AFTER)) as proxy, Registry(proxy.url) as registry:
        model = registry.register(metadata, checkpoint, ticks.append)
        back = registry.checkpoint("large", tmp_path / "back.safetensors")
        again = registry.register(metadata, checkpoint)
    assert (model["name"], again["created_at"]) == ("large", model["created_at"])
    assert back.read_bytes() == checkpoint.read_bytes()
    assert sum(ticks) == size
    assert len(ticks) > 5
    assert proxy.counts[0] > CUT_AFTER, "the connection was cut"
