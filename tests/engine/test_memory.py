"""Freed memory stays with a process that asked for it: the system clears hardly a page twice."""

import subprocess
import sys

import pytest

FAULTS = """
import resource, sys
import torch
from sat_engine.memory import keep_freed_memory
if sys.argv[1] == "kept":
    assert keep_freed_memory()
for mebibytes in (16, 40, 64) * 4:
    torch.ones(mebibytes, 2**18)  # freed at once
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for mebibytes in (64, 40, 64) * 5:
    torch.ones(mebibytes, 2**18)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's malloc")
def test_what_was_freed_is_used_again_with_few_page_faults() -> None:
    faults = {}
    for way in ("kept", "as it comes"):
        run = subprocess.run(  # our own text
            [sys.executable, "-c", FAULTS, way], capture_output=True, text=True, check=True
        )
        faults[way] = int(run.stdout)
    assert faults["kept"] < 0.25 * faults["as it comes"]
