"""A short run of the nemesis: every kind of fault, a few models, a fixed seed. `make test-faults` is the long one."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.faults.nemesis import SHARES
from tests.faults.report import too_mild
from tests.faults.run import Size, run

SIZE = Size(seed=4, models=3, faults=14, clients=2, compute_workers=1, pause=0.5, lease_seconds=2.0)


@pytest.mark.slow
def test_every_acknowledged_model_ends_measured_exactly_once(undisturbed: Any, tmp_path: Path) -> None:
    said: list[str] = []
    known = (undisturbed.entries, undisturbed.measured)
    summary = run(SIZE, tmp_path, said.append, known=known)
    told = "\n".join([*said, json.dumps(summary, indent=2), _logs(tmp_path)])
    assert summary["anomalies"] == [], told
    assert summary["registrations"] == SIZE.models
    assert set(summary["faults_by_kind"]) == set(SHARES), told
    assert too_mild(summary, SIZE.faults) is None, told
    assert summary["results_witnessed"] >= 3 * 2 * 2 + 3 * 2 + 3 * 4, told


def _logs(folder: Path) -> str:
    return "\n".join(log.read_text(errors="replace")[-2000:] for log in sorted(folder.glob("stack/logs/*.log")))
