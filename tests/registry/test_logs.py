"""A log line is one line, and nothing in it speaks to a terminal."""

import json
import subprocess
import sys

import pytest

WRITE = """
import structlog
from registry.logs import configure_logs
configure_logs({form!r})
text = "a\\rb\\x1b[2Jc\\nd\\x9be\\u202ef\\u2028g é"
log = structlog.get_logger("api")
log.info("said", path=text)
log.info(text)
"""


@pytest.mark.parametrize("form", ["json", "logfmt"])
def test_what_a_client_sends_stays_on_one_line_and_is_printable(form: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", WRITE.format(form=form)], capture_output=True, check=True, timeout=60, encoding="utf-8"
    )
    lines = done.stderr.split("\n")
    assert (len(lines), lines.pop()) == (3, "")
    assert all(line.isprintable() for line in lines), lines
    if form == "json":
        assert json.loads(lines[0])["path"] == "a\rb\x1b[2Jc\nd\x9be\u202ef\u2028g é"
    else:
        assert "\\x1b[2J" in lines[0]
        assert "\\r" in lines[0]
