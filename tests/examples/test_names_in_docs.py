"""Whatever the pages name is there: make targets, `sat` commands, modules that are run, files that are linked."""

import re
from pathlib import Path

import pytest
import typer
from typer.core import TyperGroup

from client.cli import app

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/**/*.md")])
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
# what is code on a page: `…`, fenced blocks, indented blocks
CODE = re.compile(r"```.*?```|`[^`\n]+`|^ {4}\S.*$", re.MULTILINE | re.DOTALL)


def in_code(page: Path, pattern: str) -> set[str]:
    """What the pattern's group finds in the page's code."""
    text = page.read_text(encoding="utf-8")
    return {found for code in CODE.findall(text) for found in re.findall(pattern, code, re.MULTILINE)}


def commands() -> set[str]:
    """Every `sat` command, those of other packages included."""
    group = typer.main.get_command(app)
    assert isinstance(group, TyperGroup)
    return set(group.commands)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_what_a_page_names_is_there(page: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", MAKEFILE, re.MULTILINE))
    assert in_code(page, r"(?:^ *|`)make ([a-z][a-z-]*)") <= targets
    assert in_code(page, r"(?:^ *|`|bin/)sat ([a-z][a-z-]*)") <= commands()
    for module in in_code(page, r"python -m ([a-z_]+(?:\.[a-z_]+)*)"):
        file = ROOT / (module.replace(".", "/") + ".py")
        assert file.is_file() or (file.with_suffix("") / "__main__.py").is_file(), module
    for script in in_code(page, r"python ((?:benchmarks|examples)/[a-z_/]+\.py)"):
        assert (ROOT / script).is_file(), script
    for link in re.findall(r"\]\((?!https?:|#)([^)#\s]+)", page.read_text(encoding="utf-8")):
        assert (page.parent / link).exists(), link


def test_the_pages_name_much() -> None:
    """The patterns find what they are meant to find."""
    named = {found for page in PAGES for found in in_code(page, r"(?:^ *|`|bin/)sat ([a-z][a-z-]*)")}
    assert len(named) > 25
    assert {"demo", "test"} <= in_code(ROOT / "README.md", r"(?:^ *|`)make ([a-z][a-z-]*)")
