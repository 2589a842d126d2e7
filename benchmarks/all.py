"""Run every benchmark and write docs/benchmarks.md (not with --quick)."""

import json
import subprocess
import sys
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

HERE = Path(__file__).parent
TARGET = HERE.parent / "docs" / "benchmarks.md"
TITLES = {"attack": "One attack", "matrix": "A whole matrix", "load": "Loading a network"}
PEERS = ("torchattacks", "torchattack", "foolbox")


def main() -> int:
    """Return the first failing benchmark's status, else 0."""
    sections = []
    for name, title in TITLES.items():
        command = [sys.executable, "-W", "ignore", str(HERE / f"{name}.py"), *sys.argv[1:]]
        run = subprocess.run(  # noqa: S603  # our own files
            command, stdout=subprocess.PIPE, text=True, check=False
        )
        print(run.stdout, flush=True)
        if run.returncode:
            return run.returncode
        sections.append(section(title, run.stdout))
    if "--quick" not in sys.argv:
        TARGET.write_text(document(sections))
        print(f"{TARGET.name} is written.")
    return 0


def section(title: str, output: str) -> str:
    """Return a benchmark's machine and table as Markdown."""
    lines = output.splitlines()
    first = json.loads(lines[0])
    machine = ", ".join(f"{key} {value}" for key, value in first.pop("machine").items())
    settings = ", ".join(f"{key} {value}" for key, value in first.items() if key != "benchmark")
    table = "\n".join(line for line in lines if line.startswith("|"))
    return f"## {title}\n\n{machine}.\n{settings}.\n\n{table}\n"


def document(sections: list[str]) -> str:
    """Return docs/benchmarks.md."""
    peers = ", ".join(f"{peer} {version(peer)}" for peer in PEERS)
    return (
        "# Benchmarks\n\n"
        f"Made by `make bench` on {datetime.now(UTC):%Y-%m-%d} (UTC); peers: {peers}. "
        "Ratios are medians over rounds in "
        "which all take turns, with the least and the most in brackets; on a CPU, of processor time with one thread. "
        "Each side runs in a process of its own; *our memory setting*: malloc keeps what is freed.\n"
        "Why things are as fast as they are: [performance](performance.md).\n\n" + "\n".join(sections)
    )


if __name__ == "__main__":
    sys.exit(main())
