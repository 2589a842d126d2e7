"""Settings come from the environment, are read once, and are all documented."""

import re
from pathlib import Path

import pytest
from pydantic import ValidationError

from registry.settings import MigrationSettings, Settings
from registry.tables import Lane

PAGE = Path(__file__).parents[2] / "docs" / "settings.md"
NEEDED = {"DATABASE_URL": "postgresql://u@h/d", "REDIS_URL": "redis://h", "SAT_ARTIFACTS": "/a"}


@pytest.fixture
def environment(monkeypatch):
    for name in (*NEEDED, *(f"SAT_{field.upper()}" for field in Settings.model_fields)):
        monkeypatch.delenv(name, raising=False)
    for name, value in NEEDED.items():
        monkeypatch.setenv(name, value)
    return monkeypatch


def test_every_setting_is_documented():
    documented = PAGE.read_text()
    for field in (*Settings.model_fields, *MigrationSettings.model_fields):
        name = field.upper() if f"SAT_{field.upper()}" not in documented else f"SAT_{field.upper()}"
        assert f"`{name}`" in documented, f"docs/settings.md does not explain {name}"


ROOT = PAGE.parents[1]
CODE = ("api", "client", "embedded", "registry", "sat_engine", "worker", "migrations", "examples", "containers")
VARIABLE = re.compile(r"\b(?:SAT_[A-Z0-9_]*[A-Z0-9]|[A-Z][A-Z_]*_(?:URL|ENDPOINT)(?:_S3)?)\b")


def test_every_variable_that_code_or_a_compose_file_names_is_documented():
    files = [*ROOT.glob("docker-compose*.yml"), *(each for folder in CODE for each in (ROOT / folder).rglob("*"))]
    texts = {each: each.read_text() for each in files if each.suffix in {".py", ".yml", ".Dockerfile", ".md"}}
    named = {name: path for path, text in texts.items() for name in VARIABLE.findall(text)}
    assert len(named) > 25
    documented = PAGE.read_text()
    assert {name: path.name for name, path in named.items() if f"`{name}`" not in documented} == {}


def test_a_plain_postgresql_url_is_read_by_psycopg(environment):
    for scheme in ("postgresql", "postgres", "postgresql+psycopg"):
        environment.setenv("DATABASE_URL", f"{scheme}://u@h/d")
        assert Settings().database_url == "postgresql+psycopg://u@h/d"


def test_lists_are_separated_by_commas(environment):
    environment.setenv("SAT_LANES", "compute, light")
    environment.setenv("SAT_ALLOWED_HOSTS", "localhost,127.0.0.1")
    settings = Settings()
    assert settings.lanes == (Lane.COMPUTE, Lane.LIGHT)
    assert settings.allowed_hosts == ("localhost", "127.0.0.1")


@pytest.mark.parametrize(
    ("name", "value"), [("SAT_LANES", "fast"), ("SAT_LEASE_SECONDS", "0"), ("SAT_PORT", "http"), ("DATABASE_URL", None)]
)
def test_what_is_wrong_or_missing_is_named(environment, name, value):
    if value is None:
        environment.delenv(name)
    else:
        environment.setenv(name, value)
    with pytest.raises(ValidationError, match=name.removeprefix("SAT_").lower() if value else name):
        Settings()
