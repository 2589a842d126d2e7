"""The api process may import these modules, so they must never bring torch along."""

import subprocess
import sys

import pytest

HEAVY = ("torch", "torchvision", "timm", "sklearn", "safetensors")


@pytest.mark.parametrize(
    "module", ["errors", "protocol", "bits", "ordering", "scores", "agreement", "spec", "io.tensors"]
)
def test_a_light_module_stays_light(module: str) -> None:
    program = f"import sys, sat_engine.{module}; print([name for name in {HEAVY} if name in sys.modules])"
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
