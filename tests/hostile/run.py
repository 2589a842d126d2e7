"""`make test-hostile`: every hostile input against a live api and worker. Ends with 1 unless all are refused.

    python -m tests.hostile.run [--only WORD] [--fuzz 3000]

Refused: by the api with a problem document that says why, or by the worker, which marks the model `failed` and says
why. Afterwards nothing was executed, nothing of the registry is gone, and a good checkpoint is prepared.
"""

import argparse
import contextlib
import io
import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

import timm
import torch

from tests.hostile import converting, crowds, pickles, readers, requests
from tests.hostile.attempt import PREPARE_SECONDS, Attempt, Outcome, ask, judge
from tests.live import MODELS, Live, live_api

MAX_API_MEBIBYTES = 300
BAD = ("accepted", "crashed", "slow")


def main() -> None:
    """Try everything, print what was not refused, then one line."""
    parser = argparse.ArgumentParser(description="Hostile inputs against a live registry.")
    parser.add_argument("--only", default="", help="those whose name holds this")
    parser.add_argument("--fuzz", type=int, default=3000, help="made-up files for each of the readers")
    asked = parser.parse_args()
    only = asked.only
    readers.fuzz(asked.fuzz)
    print(f"The readers of checkpoints and of the converter's report: {asked.fuzz} made-up files each, 0 broke one")  # noqa: T201
    ended = converting.fuzz(asked.fuzz)
    print(f"The converter of .pth files: {asked.fuzz} spoilt ones, 0 became others, {ended} ended its process")  # noqa: T201
    with live_api(SAT_STALL_SECONDS="2", SAT_LANES="light", SAT_DEVICE="cpu", SAT_MAX_UPLOAD_BYTES=str(2**26)) as live:
        witness = live.folder / "executed"
        # first, while the api is idle
        outcomes = [] if only else list(crowds.outcomes(live))
        with working(live) as worker:
            tried = try_all(live, every(witness), only)
            outcomes += settled(live, tried)
            faults = [*aftermath(live, witness), *([] if worker.poll() is None else ["the worker ended"])]
            memory = live.memory_mebibytes()
    sys.exit(report(outcomes, faults, memory))


def every(witness: Path) -> Iterator[Attempt]:
    """All attempts, those that a worker has to decide first."""
    for index, (name, content) in enumerate([*pickles.code(witness), *pickles.bombs(), *pickles.forged()]):
        yield Attempt(
            f"pth: {name}", lambda live, i=index, c=content: requests.register(live, f"hostile-{i}", c), later=True
        )  # type: ignore[misc]  # bound
    for group in (requests.contents, requests.names, requests.metadata, requests.forms, requests.protocol):
        yield from group()
    yield from requests.slow()


@contextlib.contextmanager
def working(live: Live) -> Iterator["subprocess.Popen[bytes]"]:
    """A real worker process."""
    with (live.folder / "worker.log").open("wb") as log:
        worker = subprocess.Popen(
            [sys.executable, "-m", "worker"], env=live.environment, stdout=log, stderr=subprocess.STDOUT
        )
    try:
        yield worker
    finally:
        worker.kill()
        worker.wait()


def try_all(live: Live, attempts: Iterable[Attempt], only: str = "") -> list[Outcome]:
    """One after the other."""
    return [judge(attempt, live) for attempt in attempts if only in attempt.name]


def settled(live: Live, outcomes: Iterable[Outcome]) -> Iterator[Outcome]:
    """The same; what a worker has to decide is decided."""
    deadline = time.monotonic() + PREPARE_SECONDS
    for outcome in outcomes:
        if outcome.verdict != "later" or outcome.location is None:
            yield outcome
            continue
        model = json.loads(ask(live, "GET", outcome.location).text)
        while model["state"] == "received" and time.monotonic() < deadline:
            time.sleep(0.3)
            model = json.loads(ask(live, "GET", outcome.location).text)
        said = model["failure"] or model["state"]
        verdict = {"failed": "refused", "received": "slow"}.get(model["state"], "accepted")
        # a reason that names a class of Python's and a traceback is a crash that was caught, not a refusal
        crashed = verdict == "refused" and "logged the traceback" in said
        yield Outcome(outcome.name, "crashed" if crashed else verdict, outcome.seconds, said)


def aftermath(live: Live, witness: Path) -> Iterator[str]:
    """What is wrong with the registry after all that."""
    if witness.exists() or Path("/tmp/sat-escaped").exists():
        yield "something was executed, or written outside"
    if live.process.poll() is not None:
        yield "the api ended"
        return
    there = {item["name"] for item in json.loads(ask(live, "GET", "/models?limit=200").text)["items"]}
    if not there >= set(MODELS):
        yield f"models are gone: {sorted(set(MODELS) - there)}"
    if leftovers := [path.name for path in (live.folder / "artifacts" / "spool").glob("*")]:
        yield f"the spool holds {leftovers[:5]}"
    good = timm.create_model("test_resnet", num_classes=2, in_chans=1).state_dict()
    file = io.BytesIO()
    torch.save({"state_dict": good}, file)
    answer = requests.register(live, "well-meant", file.getvalue())
    outcome = next(
        iter(settled(live, [Outcome("well-meant", "later", 0, "", answer.location or "/models/well-meant")]))
    )
    if outcome.verdict != "accepted":
        yield f"a good .pth was not prepared: {answer.text[:300]} {outcome.said}"
    if live.memory_mebibytes() > MAX_API_MEBIBYTES:
        yield f"the api took {live.memory_mebibytes():.0f} MB; at most {MAX_API_MEBIBYTES} are allowed"


def report(outcomes: list[Outcome], faults: list[str], memory: float) -> int:
    """Print it; 0 when all is well."""
    counts = Counter(outcome.verdict for outcome in outcomes)
    for outcome in outcomes:
        if outcome.verdict in BAD:
            print(f"{outcome.verdict.upper():9} {outcome.name}: {outcome.said} ({outcome.seconds:.1f} s)")  # noqa: T201
    for fault in faults:
        print(f"FAULT     {fault}")  # noqa: T201
    slowest = max(outcomes, key=lambda outcome: outcome.seconds, default=None)
    shown = ", ".join(f"{counts[verdict]} {verdict}" for verdict in BAD)
    print(  # noqa: T201  what it is run for
        f"{len(outcomes)} hostile inputs: {shown}, {counts['refused']} refused with a reason; "
        f"the api took {memory:.0f} MB at most, its slowest refusal {slowest.seconds if slowest else 0:.1f} s"
    )
    return 1 if faults or any(counts[verdict] for verdict in BAD) else 0


if __name__ == "__main__":
    main()
