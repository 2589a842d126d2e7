"""`python -m api`: one process that answers on an inherited socket (SAT_FD), or on SAT_HOST and SAT_PORT."""

import contextlib
import ctypes
import socket
import sys
from types import FrameType

import uvicorn
from fastapi import FastAPI

from api.access.startup import UnsafeError, check_safe
from api.app import create_app
from api.http import BoundedHttp
from api.logs import configure_api_logs
from registry.settings import Settings

# malloc.h
_MMAP_THRESHOLD, _ARENA_MAX = -3, -8
_LARGE_BLOCK = 2**20


class _Server(uvicorn.Server):
    """Ends the streams of events when it is told to stop: it would wait for them as for any answer under way."""

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Take the signal, in the main thread."""
        asked: FastAPI = self.config.app  # type: ignore[assignment]  # create_app's
        if services := getattr(asked.state, "services", None):
            services.live.end()
        super().handle_exit(sig, frame)


def main() -> None:
    """Serve until SIGINT or SIGTERM; answers under way are finished."""
    _give_memory_back()
    settings = Settings()
    configure_api_logs(settings.log_format)
    # uvicorn's own `fd` takes any socket for a unix one; without TCP_NODELAY each answer then waits 40 ms for an ACK
    listener = None if settings.fd is None else socket.socket(fileno=settings.fd)
    try:
        check_safe(settings, listener)
    except UnsafeError as error:
        sys.exit(str(error))
    server = _Server(
        uvicorn.Config(
            create_app(settings),
            http=BoundedHttp,
            ws="none",
            host=settings.host,
            port=settings.port,
            log_config=None,
            access_log=False,
            server_header=False,
            # uploads may take longer to arrive: they are told (api/stopping.py)
            timeout_graceful_shutdown=settings.grace_seconds,
        )
    )
    server.run(sockets=None if listener is None else [listener])


def _give_memory_back() -> None:
    """Have freed memory return to the system: glibc would keep what each of forty threads once took."""
    with contextlib.suppress(OSError, AttributeError):  # another C library
        libc = ctypes.CDLL(None)
        libc.mallopt(_MMAP_THRESHOLD, _LARGE_BLOCK)
        libc.mallopt(_ARENA_MAX, 2)


if __name__ == "__main__":
    main()
