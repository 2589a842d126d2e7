"""`make test-api`: schemathesis over the whole OpenAPI document of a live server with a filled registry.

    python -m tests.openapi.run [--examples 40] [--phases examples,coverage,fuzzing,stateful] [--seed 1] [MORE …]

Ends with 1 unless every case passed every check. MORE goes to schemathesis as it is.
"""

import argparse
import json
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.live import Live, live_api

HERE = Path(__file__).parent
PHASES = "examples,coverage,fuzzing,stateful"


def main() -> None:
    """Run, print schemathesis' own report, then one line."""
    parser = argparse.ArgumentParser(description="Schemathesis against a live server.")
    parser.add_argument("--examples", type=int, default=40, help="cases of each operation in the random phases")
    parser.add_argument("--phases", default=PHASES)
    parser.add_argument("--seed", type=int, default=1)
    known, more = parser.parse_known_args()
    with live_api() as live:
        status, report = check(live, examples=known.examples, phases=known.phases, seed=known.seed, more=more)
        memory = live.memory_mebibytes()
        faults = [line for line in (live.folder / "api.log").read_text().splitlines() if "request failed" in line]
    print(report)  # noqa: T201  what it is run for
    for fault in faults[:3]:
        print(json.loads(fault)["exception"][-1500:])  # noqa: T201  the traceback, which no answer shows
    found = re.search(r"^ *Tested: (\d+)", report, re.MULTILINE)
    verdict = "0 failures" if status == 0 else "FAILED"
    operations = found.group(1) if found else "no"
    print(  # noqa: T201  what it is run for
        f"{cases_of(report)} cases over {operations} operations: {verdict}; the api took {memory:.0f} MB at most"
    )
    sys.exit(status)


def check(live: Live, *, examples: int, phases: str, seed: int, more: Sequence[str] = ()) -> tuple[int, str]:
    """Schemathesis' exit status and report.

    One worker: a seed then makes the same cases in the same order, and CPython 3.11's count of how deep a syntax tree
    is, which its threads share (`SystemError: AST constructor recursion depth mismatch`), cannot end a run by chance.
    """
    command = [
        str(Path(sys.executable).parent / "schemathesis"), "--config-file", str(HERE / "schemathesis.toml"),
        "run", f"{live.url}/openapi.json", "--header", f"Authorization: Bearer {live.key}", "--checks", "all",
        "--phases", phases, "--max-examples", str(examples), "--seed", str(seed), "--workers", "1",
        "--continue-on-failure", "--generation-database", "none", "--request-timeout", "60",
        "--max-response-time", "30",
        "--suppress-health-check", "all", "--no-color", *more,
    ]  # fmt: skip
    environment = os.environ | {"SCHEMATHESIS_HOOKS": "tests.openapi.checks", "PYTHONPATH": str(HERE.parents[1])}
    # a folder of its own: schemathesis leaves files where it runs
    done = subprocess.run(
        command, cwd=live.folder, env=environment, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    return done.returncode, done.stdout.decode(errors="replace")


def cases_of(report: str) -> int:
    """How many requests schemathesis made up."""
    found = re.search(r"^ *([\d,]+) generated", report, re.MULTILINE)
    return int(found.group(1).replace(",", "")) if found else 0


if __name__ == "__main__":
    main()
