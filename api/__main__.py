"""`python -m api`: one process that answers on an inherited socket (SAT_FD), or on SAT_HOST and SAT_PORT."""

import socket
import sys

import uvicorn

from api.app import create_app
from api.logs import configure_logs
from api.startup import UnsafeError, check_safe
from registry.settings import Settings

# Uploads may take long to arrive; a stop waits for answers under way, not for those.
GRACE_SECONDS = 10


def main() -> None:
    """Serve until SIGINT or SIGTERM; answers under way are finished."""
    settings = Settings()
    configure_logs()
    # uvicorn's own `fd` takes any socket for a unix one; without TCP_NODELAY each answer then waits 40 ms for an ACK
    listener = None if settings.fd is None else socket.socket(fileno=settings.fd)
    try:
        check_safe(settings, listener)
    except UnsafeError as error:
        sys.exit(str(error))
    server = uvicorn.Server(
        uvicorn.Config(
            create_app(settings),
            host=settings.host,
            port=settings.port,
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=GRACE_SECONDS,
        )
    )
    server.run(sockets=None if listener is None else [listener])


if __name__ == "__main__":
    main()
