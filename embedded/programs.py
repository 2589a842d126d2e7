"""The registry's own processes on one machine: the migration, the api, the workers."""

import http
import http.client
import os
import socket
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from embedded.errors import EmbeddedError
from embedded.processes import Service

HOST = "127.0.0.1"  # the embedded api asks for no key, so it listens nowhere else
FIRST_PORT = 8000
MOST_COMPUTE_WORKERS = 4  # each holds a network and its images; more are for whoever asks


def _module(*words: str) -> tuple[str, ...]:
    # -P: a folder named api where `sat` is called is not our api
    return (sys.executable, "-P", "-m", *words)


@dataclass(frozen=True, kw_only=True)
class Programs:
    """The commands that a stack runs, apart from the servers."""

    migrate: tuple[str, ...] = _module("registry", "migrate")
    api: tuple[str, ...] = _module("api")
    worker: tuple[str, ...] = _module("worker")


def core_count() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def compute_worker_count(asked: int | None) -> int:
    """Return how many compute workers to run: as asked, else SAT_WORKERS, else one a core up to four."""
    if asked is None:
        text = os.environ.get("SAT_WORKERS", "").strip()
        if not text:
            return min(MOST_COMPUTE_WORKERS, core_count())
        if not text.isdecimal():
            raise EmbeddedError(f"SAT_WORKERS is {text!r}: set it to the number of compute workers, 1 or more.")
        asked = int(text)
    if asked < 1:
        raise EmbeddedError("There must be at least one compute worker: set SAT_WORKERS to 1 or more, or leave it out.")
    return asked


def listen(asked: int | None, say: Callable[[str], None]) -> socket.socket:
    """Return a socket that listens on loopback: on the port asked for, else SAT_PORT, else 8000, or the next free one.

    The supervisor keeps it open, so that connections wait while the api is restarted.
    """
    text = os.environ.get("SAT_PORT", "").strip()
    if asked is None and text and not text.isdecimal():
        raise EmbeddedError(f"SAT_PORT is {text!r}: set it to a port number, such as {FIRST_PORT}.")
    first = asked if asked is not None else int(text or FIRST_PORT)
    for port in range(first, min(first + 1000, 65536)):
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((HOST, port))
            listener.listen(1024)
        except OSError:  # taken, or below 1024 and not ours
            listener.close()
            continue
        if port != first:
            say(f"Port {first} cannot be had; the registry listens on {port}.")
        return listener
    raise EmbeddedError(f"No port from {first} on is free: set SAT_PORT to a free one below 65536.")


def environment(home: Path, database_url: str, redis_url: str) -> dict[str, str]:
    """Return the settings that every process of the stack gets."""
    # artifacts may be elsewhere (S3); the two servers are this stack's, whatever the caller's environment says
    cache = os.environ.get("SAT_CACHE") or str(home / "cache")
    # libraries keep downloads there (published weights); a user whose home folder cannot be written needs another place
    if not os.access(os.environ.get("HOME", ""), os.W_OK) and not os.environ.get("XDG_CACHE_HOME"):
        downloads = {"XDG_CACHE_HOME": str(home / "cache" / "downloads")}
    else:
        downloads = {}
    return {
        **downloads,
        "DATABASE_URL": database_url,
        "REDIS_URL": redis_url,
        "SAT_HOME": str(home),
        "SAT_ARTIFACTS": artifacts_url(home),
        "SAT_CACHE": cache,
        "PYTHONUNBUFFERED": "1",  # logs end with a process's last words
    }


def artifacts_url(home: Path) -> str:
    """Return where the stack's artifacts are: a folder, or the URL of a remote store."""
    return os.environ.get("SAT_ARTIFACTS") or str(home / "artifacts")


def api_service(programs: Programs, settings: Mapping[str, str], listener: socket.socket) -> Service:
    """Return the api on an inherited listening socket."""
    port = listener.getsockname()[1]
    own = {
        "SAT_FD": str(listener.fileno()),
        "SAT_HOST": HOST,
        "SAT_PORT": str(port),
        # a page elsewhere whose name is made to resolve to loopback must not read the registry (DNS rebinding)
        "SAT_ALLOWED_HOSTS": os.environ.get("SAT_ALLOWED_HOSTS") or f"{HOST},localhost",
        "SAT_KEYS": os.environ.get("SAT_KEYS") or "loopback",
    }
    return Service(
        name="api",
        command=programs.api,
        env={**settings, **own},
        ready=lambda: answers(port),
        stop_seconds=15,  # more than SAT_GRACE_SECONDS: who uploads is told
        descriptors=(listener.fileno(),),
    )


def worker_services(programs: Programs, settings: Mapping[str, str], compute_workers: int) -> list[Service]:
    """Return the compute workers and one for light jobs, which share the cores."""
    threads = str(max(1, core_count() // compute_workers))
    # two torch processes with two threads each on two cores ran 35 times slower than with one each
    shared = {
        **settings,
        "OMP_NUM_THREADS": threads,
        "MKL_NUM_THREADS": threads,
        "OPENBLAS_NUM_THREADS": threads,
        "OMP_WAIT_POLICY": "PASSIVE",
    }
    lanes = [(f"worker-{number}", "compute") for number in range(1, compute_workers + 1)]
    return [
        Service(name=name, command=programs.worker, env={**shared, "SAT_LANES": lane}, may_end=True)
        for name, lane in [*lanes, ("worker-light", "light")]
    ]


def answers(port: int) -> bool:
    """Tell whether the api says that it is well, within a second.

    Connecting says nothing: the supervisor's socket takes connections while the api is being started.
    """
    connection = http.client.HTTPConnection(HOST, port, timeout=1)
    try:
        connection.request("GET", "/healthz")
        return connection.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
