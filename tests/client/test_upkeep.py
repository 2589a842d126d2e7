"""`sat gc` and `sat doctor`: what they print, and their exit codes."""

import json

from tests.client.conftest import json_answer

NOTHING = dict.fromkeys(
    (
        "models", "networks", "artifacts", "bytes", "later_artifacts", "later_bytes", "evicted_bytes", "workers",
        "analyses", "idempotency_keys", "deliveries", "uploads", "spool",
    ),
    0,
) | {"dry_run": False, "more": False}  # fmt: skip


def test_gc_goes_on_until_nothing_is_left(sat, loopback):
    server = loopback(
        json_answer(200, NOTHING | {"more": True, "artifacts": 2, "bytes": 3_000_000, "models": 1}),
        json_answer(200, NOTHING | {"artifacts": 1, "bytes": 500_000, "later_artifacts": 4, "later_bytes": 10**9}),
    )
    ended = sat("gc", "--url", server.url)
    assert (ended.code, server.asked) == (0, [("POST", "/gc?dry_run=false"), ("POST", "/gc?dry_run=false")])
    assert "1 deleted models" in ended.out
    assert "3 files that nothing refers to, 3.5 MB" in ended.out
    assert "4 more files, 1.0 GB" in ended.out


def test_a_dry_run_asks_once(sat, loopback):
    server = loopback(json_answer(200, NOTHING | {"dry_run": True, "spool": 7}))
    ended = sat("gc", "--dry-run", "--url", server.url)
    assert server.asked == [("POST", "/gc?dry_run=true")]
    assert "Would be removed:\n  7 unfinished files" in ended.out
    assert json.loads(sat("gc", "--dry-run", "--json", "--url", server.url).out)["spool"] == 7


def test_the_doctor_ends_with_1_when_something_is_wrong(sat, loopback):
    well = {"healthy": True, "findings": [], "checked": 0, "next": None}
    finding = {"check": "leases", "what": "Job 7 ran out of lease.", "do": "Start a worker."}
    server = loopback(json_answer(200, well))
    ended = sat("doctor", "--url", server.url)
    assert (ended.code, ended.out.strip()) == (0, "Nothing is wrong.")
    server = loopback(json_answer(200, well | {"healthy": False, "findings": [finding]}))
    ended = sat("doctor", "--url", server.url)
    assert ended.code == 1
    assert "leases: Job 7 ran out of lease.\n  Start a worker." in ended.out


def test_deep_checks_are_read_page_by_page(sat, loopback):
    quick = {"healthy": True, "findings": [], "checked": 0, "next": None}
    wrong = {"check": "hashes", "what": "artifact 12 does not match its hash.", "do": "Copy it back."}
    server = loopback(
        json_answer(200, quick),
        json_answer(200, quick | {"checked": 5, "next": "artifacts:ab"}),
        json_answer(200, quick | {"checked": 2, "findings": [wrong]}),
    )
    ended = sat("doctor", "--deep", "--json", "--url", server.url)
    assert ended.code == 1
    assert json.loads(ended.out) == {"healthy": False, "findings": [wrong], "checked": 7, "next": None}
    assert [path for _, path in server.asked] == [
        "/doctor",
        "/doctor?deep=true",
        "/doctor?deep=true&after=artifacts%3Aab",
    ]
