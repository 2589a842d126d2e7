"""The key that `sat` sends, where it comes from, and `sat keys`."""

import json
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from client.credentials import find_key, write_key
from client.errors import InputError
from tests.client.conftest import Loopback, Outcome, json_answer

SECRET = "sat_" + "k" * 43
PAGE = {"items": [], "next": None, "total": 0}
Sat = Callable[..., Outcome]


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    file = tmp_path / "key"
    write_key(SECRET, file)
    return file


def test_a_key_file_is_for_its_owner_alone(key_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert stat.S_IMODE(key_file.stat().st_mode) == 0o600
    monkeypatch.setenv("SAT_KEY_FILE", str(key_file))
    assert find_key() == SECRET
    for mode in (0o640, 0o604, 0o620, 0o601):
        key_file.chmod(mode)
        with pytest.raises(InputError, match="chmod 600"):
            find_key()


def test_a_key_file_is_never_overwritten(key_file: Path) -> None:
    with pytest.raises(InputError, match="name a new file"):
        write_key("other", key_file)
    assert key_file.read_text() == SECRET + "\n"


def test_the_environments_key_goes_first_and_none_is_none(key_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert find_key() is None
    monkeypatch.setenv("SAT_KEY_FILE", str(key_file))
    monkeypatch.setenv("SAT_KEY", "sat_other")
    assert find_key() == "sat_other"


@pytest.mark.parametrize("content", [b"two words", b"\xff\xfe", b"a\nb", "sat_ä".encode()])
def test_what_is_no_key_is_not_sent(content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "key"
    file.touch(0o600)
    file.write_bytes(content)
    monkeypatch.setenv("SAT_KEY_FILE", str(file))
    with pytest.raises(InputError, match="no key"):
        find_key()


def test_a_missing_key_file_is_named(sat: Sat, loopback: Callable[..., Loopback]) -> None:
    outcome = sat("--key-file", "/nowhere/key", "models", "--url", loopback(json_answer(200, PAGE)).url)
    assert outcome.code == 2
    assert "/nowhere/key" in outcome.err


def test_every_command_sends_the_key(sat: Sat, loopback: Callable[..., Loopback], key_file: Path) -> None:
    server = loopback(json_answer(200, PAGE))
    assert sat("--key-file", key_file, "models", "--url", server.url).code == 0
    assert sat("--key", "sat_other", "workers", "--url", server.url).code == 0
    assert [headers["Authorization"] for headers in server.headers] == [f"Bearer {SECRET}", "Bearer sat_other"]


def test_without_a_key_none_is_sent_and_a_refusal_says_how(sat: Sat, loopback: Callable[..., Loopback]) -> None:
    server = loopback(json_answer(401, {"title": "Unauthorized", "detail": "this needs a key."}))
    outcome = sat("models", "--url", server.url)
    assert outcome.code == 1
    assert "this needs a key. (status 401)" in outcome.err
    assert "SAT_KEY_FILE" in outcome.err
    assert "Authorization" not in server.headers[0]


def test_keys_are_made_listed_and_revoked(sat: Sat, real_url: str, tmp_path: Path) -> None:
    shown = sat("keys", "create", "ci", "--scope", "write", "--team", "vision", "--days", "30", "--url", real_url)
    assert shown.code == 0
    secret = shown.out.split()[-1]
    assert secret.startswith("sat_")
    file = tmp_path / "second"
    hidden = sat("keys", "create", "second", "--to", file, "--json", "--url", real_url)
    assert json.loads(hidden.out)["key"] is None
    assert file.read_text().strip().startswith("sat_")
    assert sat("keys", "create", "third", "--to", file, "--url", real_url).code == 2
    listed = sat("keys", "list", "--url", real_url)
    assert "vision" in listed.out
    assert secret not in listed.out
    assert sat("keys", "revoke", "ci", "--url", real_url).code == 0
    found = json.loads(sat("keys", "list", "--json", "--url", real_url).out)["items"]
    assert {each["name"]: each["revoked_at"] is not None for each in found} == {"ci": True, "second": False}
    assert sat("keys", "revoke", "none", "--url", real_url).code == 1
    taken = sat("keys", "create", "ci", "--url", real_url)
    assert (taken.code, "Choose another name" in taken.err) == (1, True)


def test_a_key_whose_answer_was_lost_is_said_to_be_lost(sat: Sat, loopback: Callable[..., Loopback]) -> None:
    made = {"name": "ci", "team": "a", "scope": "read", "expires_at": None, "key": None}
    outcome = sat("keys", "create", "ci", "--url", loopback(json_answer(201, made)).url)
    assert outcome.code == 1
    assert "revoke it" in outcome.err
