"""The client by itself: what it depends on, and that it runs where nothing else is installed."""

import re
import subprocess
import sys
import textwrap
from importlib.metadata import requires

from packaging.requirements import Requirement

HEAVY = {
    "torch", "torchvision", "timm", "scikit-learn", "sqlalchemy", "psycopg", "celery", "redis", "fastapi", "uvicorn",
    "alembic", "obstore",
}  # fmt: skip
# what the packages of the other parts import; none of it is there where the client alone was installed
ABSENT = (
    "torch", "torchvision", "timm", "sklearn", "sqlalchemy", "psycopg", "celery", "redis", "fastapi", "uvicorn",
    "alembic", "obstore", "api", "registry", "worker", "embedded", "sat_engine", "nh3", "limits",
)  # fmt: skip


def requirements_of(name: str) -> list[Requirement]:
    return [Requirement(each) for each in requires(name) or []]


def test_installing_the_client_brings_neither_torch_nor_a_database() -> None:
    """Whatever is needed without an extra, and what that needs, and so on."""
    wanted, seen = ["sat-registry"], set()
    while wanted:
        name = wanted.pop()
        for each in requirements_of(name):
            key = re.sub(r"[-_.]+", "-", each.name).lower()
            if key not in seen and (each.marker is None or each.marker.evaluate({"extra": ""})):
                seen.add(key)
                wanted.append(key)
    assert {"httpx", "typer", "rich"} <= seen
    assert not seen & HEAVY


def test_it_runs_where_the_rest_is_not_installed() -> None:
    program = f"""
        import sys

        class Absent:
            def find_spec(self, name, path=None, target=None):
                if name.partition(".")[0] in {ABSENT!r}:
                    raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

        sys.meta_path.insert(0, Absent())
        import client.async_registry, client.registry
        from client.cli import main
        for arguments in (["--help"], ["models", "--help"], ["register", "--help"]):
            try:
                main(arguments)
            except SystemExit as ended:
                assert ended.code == 0, arguments
        try:
            main(["models", "--url", "http://127.0.0.1:1"])
        except SystemExit as ended:
            assert ended.code == 3
        try:
            main(["serve"])
        except SystemExit as ended:
            assert ended.code == 1
        print("loaded:", sorted(set({ABSENT!r}) & sys.modules.keys()))
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("loaded: []\n")
    assert 'pip install "sat-registry[embedded]"' in done.stderr


def test_a_shell_can_be_taught_to_complete() -> None:
    shown = subprocess.run(
        [sys.executable, "-m", "client", "--help"], capture_output=True, text=True, check=True
    ).stdout
    assert "--install-completion" in shown
