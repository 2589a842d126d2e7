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
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.live import Live, live_api
from tests.openapi.things import KEY

HERE = Path(__file__).parent
PHASES = "examples,coverage,fuzzing,stateful"
TALLY = "SAT_SCHEMATHESIS_TALLY"  # as in checks.py, which schemathesis loads
TALLY_FILE = "tally.tsv"
BAD = 400
# operations that have no good answer here, each with the reason
CANNOT: Mapping[str, str] = {
    "POST /models/{model}/retry": "nothing of this registry has failed",
}


def main() -> None:
    """Run, print schemathesis' own report, then one line."""
    parser = argparse.ArgumentParser(description="Schemathesis against a live server.")
    parser.add_argument("--examples", type=int, default=40, help="cases of each operation in the random phases")
    parser.add_argument("--phases", default=PHASES)
    parser.add_argument("--seed", type=int, default=1)
    known, more = parser.parse_known_args()
    with live_api() as live:
        status, report = check(live, examples=known.examples, phases=known.phases, seed=known.seed, more=more)
        answered = tally_of(live.folder / TALLY_FILE)
        # most of what is made in one request is used in another, which takes all phases
        never = never_succeeded(answered) if known.phases == PHASES else []
        memory = live.memory_mebibytes()
        faults = [line for line in (live.folder / "api.log").read_text().splitlines() if "request failed" in line]
    print(report)  # noqa: T201  what it is run for
    for fault in faults[:3]:
        print(json.loads(fault)["exception"][-1500:])  # noqa: T201  the traceback, which no answer shows
    found = re.search(r"^ *Tested: (\d+)", report, re.MULTILINE)
    for label, statuses in sorted(answered.items()):
        print(f"  {label:45} " + ", ".join(f"{status}: {number}" for status, number in sorted(statuses.items())))  # noqa: T201
    for label in never:
        print(f"{label} was never seen to succeed")  # noqa: T201  what it is run for
    status = status or int(bool(never))
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
    environment = os.environ | {
        "SCHEMATHESIS_HOOKS": "tests.openapi.checks",
        "PYTHONPATH": str(HERE.parents[1]),
        TALLY: str(live.folder / TALLY_FILE),
        KEY: live.key,
    }
    # a folder of its own: schemathesis leaves files where it runs
    done = subprocess.run(
        command, cwd=live.folder, env=environment, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    return done.returncode, done.stdout.decode(errors="replace")


def tally_of(file: Path) -> dict[str, dict[int, int]]:
    """How often each operation answered with which status."""
    found: dict[str, dict[int, int]] = {}
    for line in file.read_text(encoding="utf-8").splitlines():
        label, status, number = line.split("\t")
        found.setdefault(label, {})[int(status)] = int(number)
    return found


def never_succeeded(answered: Mapping[str, Mapping[int, int]]) -> list[str]:
    """The operations without one good answer, but for those that this registry cannot do."""
    good = {label for label, statuses in answered.items() if any(status < BAD for status in statuses)}
    return sorted(set(answered) - good - set(CANNOT))


def cases_of(report: str) -> int:
    """How many requests schemathesis made up."""
    found = re.search(r"^ *([\d,]+) generated", report, re.MULTILINE)
    return int(found.group(1).replace(",", "")) if found else 0


if __name__ == "__main__":
    main()
