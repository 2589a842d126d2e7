"""Measure the api's reads on a zoo of 1,300 models with all pairs: speed, freshness, memory, heavy answers.

The load comes from wrk (Debian's `wrk`; it must be on PATH), in a process of its own. On a machine of several cores
the api is held to one and the load to another. Where the machine is shared, the wall clock says little: requests a
second of the api's own processor time are what it could answer on a core that it has to itself.

    python benchmarks/reads.py               1,300 models
    python benchmarks/reads.py --models 200  the same, short
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import httpx
import psycopg
from large_zoo import LargeZoo, Stack, model_name, stack
from printing import machine, say, table

CONNECTIONS = 16
PORT = 8739
URL = f"http://127.0.0.1:{PORT}"
SCRIPT = """
local n = 0
request = function()
  n = (n * 1103515245 + 12345) % 2147483648
  return wrk.format("GET", string.format("/similar/model-%04d", math.floor(n / 8) % MODELS + 1))
end
done = function(summary, latency)
  local errors = summary.errors
  io.write(string.format('{"requests": %d, "seconds": %.3f, "p50": %.3f, "p99": %.3f, "errors": %d}\\n',
    summary.requests, summary.duration / 1e6, latency:percentile(50) / 1e3, latency:percentile(99) / 1e3,
    errors.status + errors.connect + errors.read + errors.timeout))
end
"""


class Api:
    """One api process on the benchmark's database."""

    def __init__(self, running: Stack) -> None:
        environment = os.environ | {
            "DATABASE_URL": running.url, "REDIS_URL": running.redis_url, "SAT_KEYS": "loopback",
            "SAT_ARTIFACTS": str(running.folder / "artifacts"), "SAT_CACHE": str(running.folder / "cache"),
            "SAT_PORT": str(PORT),
        }  # fmt: skip
        self.process = subprocess.Popen([*_on_core(0), sys.executable, "-m", "api"], env=environment)  # noqa: S603  our own

    def processor_seconds(self) -> float:
        """Return what the process has used so far."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def megabytes(self) -> float:
        """Return the most memory that it has had at a time."""
        status = Path(f"/proc/{self.process.pid}/status").read_text(encoding="ascii")
        return int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]) / 1024

    def wait(self, client: httpx.Client) -> float:
        """Wait for the first answer from the snapshot; return the processor seconds until then."""
        while True:
            try:
                if client.get(f"/similar/{model_name(1)}").status_code == httpx.codes.OK:
                    return self.processor_seconds()
            except httpx.TransportError:
                time.sleep(0.05)


class Writer:
    """Records pairs one transaction after the other, as fast as the database takes them."""

    def __init__(self, running: Stack, models: int) -> None:
        self._running, self._models = running, models
        self._ended = threading.Event()
        self.committed: dict[int, float] = {}
        self._thread = threading.Thread(target=self._write)

    def __enter__(self) -> Self:
        """Begin."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """End."""
        self._ended.set()
        self._thread.join()

    def _write(self) -> None:
        with self._running.postgres.connect("sat") as connection:
            connection.autocommit = False
            number = 0
            while not self._ended.is_set():
                number += 1
                version = self._record(connection, number)
                connection.commit()
                self.committed[version] = time.monotonic()

    def _record(self, connection: psycopg.Connection, number: int) -> int:
        a = number % (self._models - 1) + 1
        row = connection.execute(
            "with raised as (update comparisons set version = version + 1 where id = 1 returning version)"
            " select version, pg_notify('sat_version', '1') from raised"
        ).fetchone()
        assert row is not None
        connection.execute(
            "update pairs set n = n, version = %s where comparison_id = 1 and a_id = %s and b_id = %s",
            (row[0], a, a + 1),
        )
        return int(row[0])


def main() -> None:
    """Print a line for each measurement, and the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=int, default=1300)
    parser.add_argument("--seconds", type=float, default=8, help="of each load")
    arguments = parser.parse_args()
    if shutil.which("wrk") is None:
        raise SystemExit("wrk is not on PATH: install it (`apt install wrk`), then run this again.")
    say("reads", models=arguments.models, connections=CONNECTIONS, machine=machine())
    rows: list[list[str]] = []
    with stack() as running:
        zoo = LargeZoo(running.postgres)
        zoo.add_networks(arguments.models)
        pairs = zoo.add_pairs()
        with serving(running) as (api, client):
            measure(running, api, client, arguments, rows)
    say("reads", pairs=pairs)
    table(("what", "measured", "target", ""), rows)


@contextmanager
def serving(running: Stack) -> Iterator[tuple[Api, httpx.Client]]:
    """Run the api until the block ends."""
    api = Api(running)
    try:
        with httpx.Client(base_url=URL, timeout=120) as client:
            yield api, client
    finally:
        api.process.terminate()
        api.process.wait(30)


def measure(
    running: Stack, api: Api, client: httpx.Client, arguments: argparse.Namespace, rows: list[list[str]]
) -> None:
    """Measure everything, adding rows of the table."""
    report = _reporter(rows)
    report("first snapshot, processor seconds of the api from its start", api.wait(client), most=3.0)
    for _ in range(2):  # what is kept is kept from the second time on
        load(api, arguments.models, arguments.seconds)
    quiet = load(api, arguments.models, arguments.seconds)
    report_load(report, "GET /similar, nothing changes", quiet, 5000)
    with Writer(running, arguments.models) as writer:
        ages = Ages(client, writer)
        with ages:
            busy = load(api, arguments.models, arguments.seconds)
        cells = len(writer.committed)
    report_load(report, "GET /similar, while pairs arrive", busy, None)
    report("pairs recorded a second meanwhile", cells / busy["seconds"], least=None)
    report("oldest answer meanwhile, seconds", max(ages.seconds), most=2.0)
    client.get("/recommend/ensemble?n=5&wait=0").raise_for_status()
    before = api.processor_seconds()
    seconds = [timed(client, f"/recommend/ensemble?n=5&wait=0&weight={weight / 100}") for weight in range(40, 60)]
    used = api.processor_seconds() - before
    report("members of an ensemble, uncached, ms by the clock (median of 20)", 1000 * statistics.median(seconds))
    report("members of an ensemble, uncached, ms of the api's processor", 1000 * used / len(seconds), most=50)
    for format_ in ("json", "csv", "npz", "parquet"):
        before = api.processor_seconds()
        size = len(client.get(f"/matrix?format={format_}").content)
        first = api.processor_seconds() - before
        client.get(f"/matrix?format={format_}")
        again = api.processor_seconds() - before - first
        report(f"GET /matrix as {format_}, {size / 1e6:.1f} MB, processor seconds", first, most=None)
        report(f"the same again ({format_})", again, most=None)
    report("most memory of the api, MB", api.megabytes(), most=300)


class Ages:
    """Asks for one answer again and again, and notes how much older it is than what was committed."""

    def __init__(self, client: httpx.Client, writer: Writer) -> None:
        self._client, self._writer = client, writer
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._ask)
        self.seconds: list[float] = [0.0]

    def __enter__(self) -> Self:
        """Begin."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """End."""
        self._ended.set()
        self._thread.join()

    def _ask(self) -> None:
        while not self._ended.wait(0.02):
            answer = self._client.get(f"/similar/{model_name(1)}?k=1")
            now = time.monotonic()
            # it lags since the moment at which the next version was committed
            following = self._writer.committed.get(answer.json()["version"] + 1)
            if following is not None:
                self.seconds.append(now - following)


def load(api: Api, models: int, seconds: float) -> dict[str, float]:
    """Return what wrk counted, and requests a second of the api's processor time."""
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        script.write(SCRIPT.replace("MODELS", str(models)))
        script.flush()
        command = [
            *_on_core(1),
            "wrk",
            "-t1",
            f"-c{CONNECTIONS}",
            f"-d{seconds:.0f}s",
            "--timeout",
            "30s",
            "-s",
            script.name,
            URL,
        ]
        before = api.processor_seconds()
        run = subprocess.run(command, check=True, capture_output=True, text=True)  # noqa: S603  our own
        used = api.processor_seconds() - before
    found: dict[str, float] = json.loads(run.stdout.splitlines()[-1])
    if found["errors"]:
        raise SystemExit(f"{found['errors']} requests failed: see the api's log above.")
    return found | {"per_core": found["requests"] / used, "share": used / found["seconds"]}


def timed(client: httpx.Client, path: str) -> float:
    """Return the seconds until the answer is there."""
    started = time.perf_counter()
    client.get(path).raise_for_status()
    return time.perf_counter() - started


Report = Callable[..., None]


def _reporter(rows: list[list[str]]) -> Report:
    def report(what: str, value: float, *, least: float | None = None, most: float | None = None) -> None:
        say("reads", what=what, value=round(value, 4), least=least, most=most, load=round(os.getloadavg()[0], 1))
        met = ""
        if least is not None:
            met = "met" if value >= least else "**missed**"
        if most is not None:
            met = "met" if value <= most else "**missed**"
        bound = "-" if least is None and most is None else f"{'≥' if most is None else '≤'} {least or most:,.0f}"
        shown = f"{value:,.0f}" if value >= 100 else f"{value:.3g}"  # noqa: PLR2004  three figures are enough
        rows.append([what, shown, bound, met])

    return report


def report_load(report: Report, what: str, found: dict[str, Any], least: float | None) -> None:
    """Add the rows of one load."""
    report(f"{what}: requests a second of the api's processor", found["per_core"], least=least)
    report(f"{what}: requests a second by the clock", found["requests"] / found["seconds"])
    report(f"{what}: share of a core that the api got", found["share"])
    report(f"{what}: p50 by the clock, ms", found["p50"])
    report(f"{what}: p99 by the clock, ms", found["p99"], most=10 if least else None)


def _on_core(core: int) -> list[str]:
    return ["taskset", "-c", str(core)] if shutil.which("taskset") and (os.cpu_count() or 1) > 1 else []


if __name__ == "__main__":
    main()
