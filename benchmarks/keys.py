"""What checking a key costs a read: one api process that asks for keys beside one that asks for none.

    .venv/bin/python -m benchmarks.keys

Both give the same kept answer to the same request of wrk's, in turns. The processor's time a request is told beside
the requests a second: it says the same on a machine that does other things as well. Prints one JSON object.
"""

import json
import os
import re
import shutil
import socket
import statistics
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from benchmarks.large_zoo import LargeZoo, stack
from registry.__main__ import make_key
from registry.tables import Scope

ROUNDS, SECONDS, CONNECTIONS, MODELS = 7, 3, 32, 50
# an answer that is kept: the read path at its fastest, where a check costs most
PATH = "/similar/model-0001"


@contextmanager
def api(settings: dict[str, str], keys: str) -> Iterator[tuple[str, int]]:
    """Run an api process; yield its address, when it answers, and its id."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        process = subprocess.Popen(
            [sys.executable, "-m", "api"],
            env={**os.environ, **settings, "SAT_KEYS": keys, "SAT_FD": str(listener.fileno())},
            pass_fds=[listener.fileno()],
            stderr=subprocess.DEVNULL,
        )
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=60):
            pass
        yield f"http://127.0.0.1:{port}", process.pid
    finally:
        process.terminate()
        process.wait()


def processor_seconds(process: int) -> float:
    """What the process has used so far (proc(5): utime and stime)."""
    fields = Path(f"/proc/{process}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def load(url: str, process: int, key: str) -> tuple[float, float]:
    """Requests a second, as wrk on one thread has them, and the processor's microseconds a request."""
    before = processor_seconds(process)
    done = subprocess.run(  # noqa: S603  wrk with our own arguments
        ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{SECONDS}s", "-H", f"Authorization: Bearer {key}", url + PATH],  # noqa: S607  of the PATH
        capture_output=True,
        text=True,
        check=True,
    )
    if "Non-2xx" in done.stdout:
        raise SystemExit(done.stdout)
    ((requests, seconds),) = re.findall(r"(\d+) requests in ([\d.]+)s", done.stdout)
    used = processor_seconds(process) - before
    return int(requests) / float(seconds), 1e6 * used / int(requests)


def main() -> None:
    """Measure and print."""
    if shutil.which("wrk") is None:
        raise SystemExit("wrk is not there: install it with your system's package manager.")
    with stack() as servers, ExitStack() as processes:
        zoo = LargeZoo(servers.postgres)
        zoo.add_networks(MODELS)
        zoo.add_pairs()
        secret = make_key(servers.url, name="bench", scope=Scope.READ, team=None, days=None)
        settings = {
            "DATABASE_URL": servers.url,
            "REDIS_URL": servers.redis_url,
            "SAT_ARTIFACTS": str(servers.folder / "artifacts"),
        }
        asked = {
            "without": processes.enter_context(api(settings, "loopback")),
            "with": processes.enter_context(api(settings, "required")),
        }
        figures: dict[str, list[tuple[float, float]]] = {name: [] for name in asked}
        for _ in range(ROUNDS):
            for name, how in asked.items():
                figures[name].append(load(*how, secret))
        answer = {
            name: {
                "requests_per_second": round(statistics.median(rate for rate, _ in found)),
                "processor_microseconds": round(statistics.median(used for _, used in found), 1),
            }
            for name, found in figures.items()
        }
        ratios = [guarded[1] / plain[1] for guarded, plain in zip(figures["with"], figures["without"], strict=True)]
        spread = {"median": statistics.median(ratios), "least": min(ratios), "most": max(ratios)}
        told = {name: round(value, 3) for name, value in spread.items()}
        print(json.dumps({"path": PATH, "key": answer, "processor_time_with_over_without": told, "rounds": ROUNDS}))


if __name__ == "__main__":
    main()
