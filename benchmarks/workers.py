"""Throughput of the workers behind a running registry, and which share of their time is computing.

    docker compose up --scale worker=3
    python benchmarks/workers.py --url http://127.0.0.1:8000 --psql "docker compose exec -T postgres psql -U sat"

Trains one small network on handwritten digits, registers --models variants of it (its weights, slightly changed), and
waits until every pair is measured. Run it on an empty registry. Prints one JSON object and a sentence.
"""

import argparse
import json
import shlex
import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file

from client.registry import Registry
from examples.digits.fit import fit
from examples.digits.images import CLASSES, held_out
from examples.digits.zoo import Member, Recipe
from sat_engine.io.tensors import write_arrays

IMAGES, PREFIX = 400, 100
# What of the workers' time went into networks; the rest is loading, reading images, scheduling and waiting.
COMPUTING = """
select sum(seconds), count(distinct worker_id) from (
    select seconds, worker_id from evaluations union all select seconds, worker_id from attacks
    union all select seconds, worker_id from transfers
) as computed
"""


def main() -> None:
    """Register, wait, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", required=True)
    parser.add_argument("--key", help="an admin key, where the registry wants one")
    parser.add_argument("--models", type=int, default=8)
    parser.add_argument("--psql", help="a command that reads SQL from its input, for the share")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, Registry(arguments.url, key=arguments.key) as registry:
        workers = sum("compute" in each["lanes"] and each["alive"] for each in registry.workers())
        seconds, cells = measure(registry, Path(folder), arguments.models)
        figures: dict[str, object] = {
            "workers": workers,
            "models": arguments.models,
            "cells": cells,
            "seconds": round(seconds, 1),
            "cells_per_second": round(cells / seconds, 2),
        }
        if arguments.psql:
            figures |= computing(arguments.psql, workers * seconds)
    print(json.dumps(figures))
    print(f"{workers} workers measured {cells} cells in {seconds:.0f} s: {cells / seconds:.1f} cells/s.")


def measure(registry: Registry, folder: Path, models: int) -> tuple[float, int]:
    """Seconds from the first registration until nothing is left, and the cells that were measured."""
    images, labels = held_out()
    write_arrays(folder / "digits.safetensors", {"images": images[:IMAGES], "labels": labels[:IMAGES]})
    described = {"name": "digits", "classes": list(CLASSES), "prefix": PREFIX}
    registry.create_image_set(described, folder / "digits.safetensors")
    registry.compare("digits", "pgd", state="measuring", default=True)
    files = variants(folder, models)
    started = time.perf_counter()
    for file, metadata in files:
        registry.register(metadata, file)
    while not all(each["progress"]["complete"] for each in registry.models()):
        time.sleep(0.2)
    seconds = time.perf_counter() - started
    return seconds, registry.comparison("digits", "pgd")["progress"]["cells_measured"]


def variants(folder: Path, models: int) -> list[tuple[Path, dict[str, object]]]:
    """Files and metadata of networks that differ a little from one trained network, and so cost the same."""
    member = Member(name="resnet", architecture="test_resnet", options={}, recipe=Recipe(epochs=4))
    fit(member, folder / "trained.safetensors")
    trained, rng = load_file(folder / "trained.safetensors"), np.random.default_rng(0)
    made = []
    for number in range(models):
        changed = {
            name: (array * (1 + 0.01 * rng.standard_normal(array.shape))).astype(array.dtype)
            if array.dtype.kind == "f"
            else array
            for name, array in trained.items()
        }
        path = folder / f"{number}.safetensors"
        save_file(changed, path)
        made.append((path, member.metadata() | {"name": f"variant-{number}"}))
    return made


def computing(psql: str, available: float) -> dict[str, object]:
    """What of the available seconds of workers was computing, and how many workers recorded anything."""
    command = [*shlex.split(psql), "-At", "-F,"]
    done = subprocess.run(command, input=COMPUTING, capture_output=True, text=True, check=True)  # noqa: S603  the caller's own
    seconds, workers = done.stdout.strip().split(",")
    return {
        "computing_seconds": round(float(seconds), 1),
        "computing_share": round(float(seconds) / available, 3),
        "workers_that_recorded": int(workers),
    }


if __name__ == "__main__":
    main()
