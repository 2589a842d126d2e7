"""What every benchmark says: one JSON object a line, then a table; and the machine it ran on."""

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

Rounds = Mapping[str, Sequence[float]]


def options(description: str | None) -> argparse.Namespace:
    """Return the options every benchmark has; torch computes with one thread on a CPU."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--quick", action="store_true", help="fewer steps and rounds: whether it runs, not how fast")
    parser.add_argument("--rounds", type=int, default=None)
    torch.set_num_threads(1)
    return parser.parse_args()


def device() -> torch.device:
    """Return a GPU where there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def clock() -> float:
    """Return seconds: of this process's processor time on a CPU, where others may compute meanwhile, else of the wall.

    All benchmarks use one thread on a CPU, so that the two are the same on an idle machine.
    """
    if device().type == "cuda":
        torch.cuda.synchronize()
        return time.perf_counter()
    return time.process_time()


def timed(contender: Callable[[], object]) -> float:
    """Return the seconds that one call takes."""
    start = clock()
    contender()
    return clock() - start


def interleaved(contenders: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """Return seconds, as each contender says, in each round; all take turns, so that a slow minute hits all of them."""
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for turn in range(rounds):
        names = list(contenders)
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            seconds[name].append(contenders[name]())
    return seconds


def ratio(seconds: Rounds, slow: str, fast: str) -> tuple[float, float, float]:
    """Return how many times as fast `fast` is as `slow`: median, least and most over the rounds."""
    each = [a / b for a, b in zip(seconds[slow], seconds[fast], strict=True)]
    return statistics.median(each), min(each), max(each)


def spread(values: tuple[float, float, float]) -> str:
    """Return "1.50 (1.42-1.61)"."""
    middle, low, high = values
    return f"{middle:.2f} ({low:.2f}-{high:.2f})"


def machine() -> dict[str, Any]:
    """Return where this ran and with what."""
    import timm

    cpu = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace") if Path("/proc/cpuinfo").exists() else ""
    model = next((line.partition(": ")[2] for line in cpu.splitlines() if line.startswith("model name")), "unknown")
    return {
        "device": torch.cuda.get_device_name(0) if torch.cuda.is_available() else model,
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "load": round(os.getloadavg()[0], 1),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "timm": timm.__version__,
    }


def say(benchmark: str, **values: Any) -> None:
    """Print one JSON object."""
    print(json.dumps({"benchmark": benchmark, **values}), flush=True)


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a Markdown table, set off by empty lines."""
    print("\n| " + " | ".join(head) + " |\n|" + " --- |" * len(head))
    for row in rows:
        print("| " + " | ".join(row) + " |")
    print(flush=True)


def judged(values: tuple[float, float, float], target: float | None, why: str) -> list[str]:
    """Return a row's ratio, target and verdict; a missed target stands beside why, which follows from this run."""
    if target is None:
        return [spread(values), "-", ""]
    return [spread(values), f"{target}", "met" if values[0] >= target else f"**missed**: {why}"]
