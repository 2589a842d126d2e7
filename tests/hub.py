"""A loopback server in the hub's place."""

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

NAME, TAG = "test_convnext", "r160_in1k"
REPOSITORY = f"/timm/{NAME}.{TAG}/resolve/main/"


@dataclass
class Hub:
    """A loopback server in the hub's place: what it serves, and what it was asked for."""

    address: str
    files: dict[str, bytes]
    asked: list[str] = field(default_factory=list)


@pytest.fixture
def hub() -> Iterator[Hub]:
    """A hub that serves a real network of ten classes under timm's name, with its own config."""
    import timm
    import torch
    from safetensors.torch import save

    torch.manual_seed(0)
    module = timm.create_model(NAME, num_classes=10)
    settings = {
        "input_size": [3, 64, 64],
        "mean": [0.1, 0.2, 0.3],
        "std": [0.4, 0.5, 0.6],
        "classifier": "head.fc",
        "first_conv": "stem.0",
        "license": "apache-2.0",
    }
    config = {
        "architecture": NAME,
        "num_classes": 10,
        "label_names": [f"digit {digit}" for digit in range(10)],
        "pretrained_cfg": settings,
    }
    served = Hub("", {"config.json": json.dumps(config).encode(), "model.safetensors": save(module.state_dict())})

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.answer(with_body=False)

        def do_GET(self) -> None:
            self.answer(with_body=True)

        def answer(self, *, with_body: bool) -> None:
            served.asked.append(f"{self.command} {self.path}")
            body = served.files.get(self.path.removeprefix(REPOSITORY))
            self.send_response(404 if body is None else 200)
            if body is None:
                self.send_header("X-Error-Code", "EntryNotFound")
            else:
                self.send_header("ETag", f'"{sha256(body).hexdigest()}"')
                self.send_header("X-Repo-Commit", "0" * 40)
            self.send_header("Content-Length", str(len(body or b"")))
            self.end_headers()
            if with_body and body:
                self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Nothing: the test looks at what was asked."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        served.address = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield served
        server.shutdown()
        thread.join()
