"""docs/security.md names a test for every known way into a registry, and the tests exist."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
NAMED = sorted(set(re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", PAGE)))
ROWS = [line for line in PAGE.splitlines() if line.startswith("| ")][2:]
# What broke registries elsewhere: each is told of in the first column of a row.
CLASSES = (
    r"code in pickles",
    r"torch\.load.*CVE-2025-32434.*CVE-2026-24747",
    r"path traversal.*`\\\.\.\\`.*double decoding",
    r"SSRF by webhooks",
    r"register by URL",
    r"routes that were added later skipped the check.*CVE-2026-0545.*CVE-2026-2652",
    r"DNS rebinding",
    r"CSRF, with DELETE forgotten",
    r"archives with symlinks",
    r"multipart parsers that eat memory",
    r"huge page sizes",
    r"remote names that load something.*timm",
)


@pytest.mark.parametrize("known", CLASSES)
def test_every_known_class_has_a_row(known: str) -> None:
    assert len([row for row in ROWS if re.search(known, row.split(" | ")[0])]) == 1


def test_every_row_names_a_test() -> None:
    assert len(ROWS) > 20
    for row in ROWS:
        assert re.search(r"`tests/[\w/]+\.py::\w+` ", row + " "), row


@pytest.mark.parametrize("file", sorted({file for file, _ in NAMED}))
def test_the_named_tests_exist(file: str) -> None:
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    there = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
    assert {name for other, name in NAMED if other == file} <= there
