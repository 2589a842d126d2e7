"""Every shell block of the README runs as printed, against a real api that holds models of the demo's names.

Measuring takes minutes, so three things differ: the address, `--watch` (which waits for it), and the worker's part:
the test itself notes that the registered weights are those of a network that is there, as `prepare` would find.
"""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import timm
from safetensors.torch import save_file
from sqlalchemy import select, update

from examples.digits.images import CLASSES
from registry.database import make_engine, make_sessions
from registry.settings import Settings
from registry.storage.artifacts import ArtifactStore
from registry.tables import ModelRow, ModelState, NameRow, NetworkRow, TaskRow
from registry.versions import raise_all_versions
from tests.api.test_process import running
from tests.api.world import World

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```bash\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
MODELS = ("convnext-a", "convnext-b", "resnet", "vit-a", "vit-b", "swin")
ADDRESS = "http://127.0.0.1:8000"


@pytest.fixture
def world(database_url: str, redis_url: str, tmp_path: Path) -> Iterator[tuple[World, dict[str, str]]]:
    """A registry with the demo's task and some of its names; and the environment of its processes."""
    engine = make_engine(database_url)
    world = World(make_sessions(engine), np.random.default_rng(0))
    with world.sessions.begin() as session:
        session.add(TaskRow(name="digits", digest=b"d" * 32, classes=list(CLASSES)))
    world.add_comparison()
    for name in MODELS:
        world.add_model(name)
    world.measure()
    settings = Settings.model_validate(
        {
            "database_url": database_url,
            "redis_url": redis_url,
            "artifacts": str(tmp_path / "a"),
            "cache": tmp_path / "c",
        }
    )
    weights = tmp_path / "weights.safetensors"
    save_file(timm.create_model("test_resnet", num_classes=10, in_chans=1).state_dict(), weights)
    stored = ArtifactStore(settings.artifacts, settings.cache).put_file(weights, "weights", world.sessions)
    with world.sessions.begin() as session:
        session.execute(
            update(NetworkRow).where(NetworkRow.id == world.networks["resnet"]).values(weights=stored.sha256)
        )
        raise_all_versions(session)
    environment = os.environ | {
        "DATABASE_URL": settings.database_url, "REDIS_URL": settings.redis_url, "SAT_ARTIFACTS": settings.artifacts,
        "SAT_CACHE": str(settings.cache), "SAT_KEYS": "loopback", "SAT_MIN_FREE_BYTES": "0",
    }  # fmt: skip
    yield world, environment
    engine.dispose()


def prepare(world: World, name: str) -> None:
    """Note what a worker would find: these are the weights of a network that is there."""
    with world.sessions.begin() as session:
        found = session.scalars(select(ModelRow).join(NameRow).where(NameRow.name == name)).one()
        found.network_id, found.state = world.networks["resnet"], ModelState.READY
        session.flush()
        raise_all_versions(session)


def test_the_shell_blocks_run_as_printed(world: tuple[World, dict[str, str]], tmp_path: Path) -> None:
    assert len(BLOCKS) >= 3
    work = tmp_path / "work"
    work.mkdir()
    (work / ".venv").symlink_to(Path(sys.prefix))
    with running(world[1], tmp_path / "log") as (_, client):
        url = str(client.base_url)
        for block in BLOCKS:
            # -f: curl then fails where the registry refuses
            script = block.replace(ADDRESS, url.rstrip("/")).replace("curl -s ", "curl -sf ").replace(" --watch", "")
            ran = subprocess.run(
                ["bash", "-eu", "-o", "pipefail", "-c", f"U={url.rstrip('/')}\n{script}"],
                cwd=work, env=os.environ | {"SAT_URL": url, "NO_PROXY": "*"}, capture_output=True, text=True,
                check=False, timeout=120,
            )  # fmt: skip
            assert ran.returncode == 0, (script, ran.stdout, ran.stderr)
            assert ran.stdout.strip()
            if "sat register" not in block and "name" in block and "mine" in block:
                prepare(world[0], "mine")
        similar = client.get("/similar/mine").json()
    assert [item["model"] for item in similar["items"]]


def test_the_make_targets_that_it_names_are_there() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    named = set(re.findall(r"(?:`|^    )make ([a-z][a-z-]*)", README, re.MULTILINE))
    assert {"demo", "test", "serve", "help"} <= named
    for target in named:
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_its_python_is_the_library_s_and_its_links_lead_somewhere() -> None:
    for block in re.findall(r"^```python\n(.*?)^```", README, re.MULTILINE | re.DOTALL):
        imports = "\n".join(line for line in block.splitlines() if line.startswith(("from ", "import ")))
        compile(block, "README.md", "exec")
        exec(imports, {})
    for link in re.findall(r"\]\(((?!http)[^)#]+)", README):
        assert (ROOT / link).exists(), link
