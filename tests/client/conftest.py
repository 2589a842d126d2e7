"""Small HTTP servers on loopback, each following a script; the real api; and `sat` run in this process."""

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from uuid import uuid4

import pytest

from client import output
from client.cli import main
from embedded.processes import finish, running
from embedded.programs import Programs, api_service, listen
from tests.conftest import Servers

Answer = tuple[int, dict[str, str], bytes]


@dataclass
class Loopback:
    """A server that gives its answers one after another, the last one for ever, and keeps what it was asked."""

    answers: list[Answer]
    url: str = ""
    asked: list[tuple[str, str]] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)

    def next_answer(self) -> Answer:
        """Return the next answer of the script."""
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


def json_answer(status: int, body: object, **headers: str) -> Answer:
    """Return an answer with a JSON body; header names are given with underscores."""
    kind = "application/problem+json" if status >= 400 else "application/json"
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return status, {"Content-Type": kind, **named}, json.dumps(body).encode()


def _handler(loopback: Loopback) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            loopback.asked.append((self.command, self.path))
            loopback.bodies.append(body)
            loopback.headers.append(dict(self.headers.items()))
            status, headers, content = loopback.next_answer()
            if status == 0:  # hang up without a word
                self.close_connection = True
                return
            self.send_response(status)
            for name, value in {"Content-Length": str(len(content)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_DELETE = do_PATCH = do_PUT = answer  # noqa: N815 (the names http.server looks for)

        def log_message(self, *_arguments: object) -> None:
            """Keep the tests' output clean."""

    return Handler


@pytest.fixture
def loopback() -> Iterator[Callable[..., Loopback]]:
    """A function that starts a server with these answers."""
    servers: list[ThreadingHTTPServer] = []

    def start(*answers: Answer) -> Loopback:
        made = Loopback(list(answers))
        server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(made))
        servers.append(server)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        made.url = f"http://127.0.0.1:{server.server_port}"
        return made

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@dataclass(frozen=True)
class Outcome:
    """What a run of `sat` left behind."""

    code: int
    out: str
    err: str


@pytest.fixture
def sat(capsys: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    """A function that runs `sat` with the arguments and returns its exit code and what it printed."""

    def run(*arguments: object) -> Outcome:
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main([str(argument) for argument in arguments])
        printed = capsys.readouterr()
        code = ended.value.code
        return Outcome(code if isinstance(code, int) else 0, printed.out, printed.err)

    return run


@pytest.fixture(autouse=True)
def _nowhere(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """No test finds a registry that runs on this machine."""
    monkeypatch.delenv("SAT_URL", raising=False)
    # tables are as wide as into a pipe, whatever runs the tests
    monkeypatch.setattr(output.console, "width", output.PIPE_WIDTH)
    # set, so that what `sat --key` sets is taken back as well
    monkeypatch.setenv("SAT_KEY", "")
    monkeypatch.setenv("SAT_KEY_FILE", "")
    monkeypatch.setenv("SAT_HOME", str(tmp_path_factory.mktemp("home")))


@pytest.fixture(scope="module")
def real_url(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of the real api over a database of its own, without any worker."""
    name, folder = f"client_{uuid4().hex}", tmp_path_factory.mktemp("api")
    servers.postgres.create_database(name)
    settings = {
        "DATABASE_URL": servers.postgres.url(name),
        "REDIS_URL": servers.valkey.url,
        "SAT_ARTIFACTS": str(folder / "artifacts"),
        "SAT_CACHE": str(folder / "cache"),
    }
    status, output = finish(Programs().migrate, env=settings)
    assert status == 0, output
    with listen(0, print) as listener:
        service = api_service(Programs(), settings, listener)
        with running(service, folder / "api.log"):
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    servers.postgres.drop_database(name)
