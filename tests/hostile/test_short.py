"""A short part of `make test-hostile`: all forms, and a sample of the rest, against a real api without a worker."""

from collections.abc import Iterator
from itertools import chain, islice
from pathlib import Path

import pytest

from tests.hostile import pickles, requests
from tests.hostile.attempt import Attempt, judge
from tests.hostile.run import MAX_API_MEBIBYTES
from tests.live import Live, live_api

EVERY = 5


@pytest.fixture(scope="module")
def live() -> Iterator[Live]:
    """An api that asks for keys, with six measured models behind it."""
    with live_api() as running:
        yield running


def sample() -> list[Attempt]:
    rest = chain(requests.contents(), requests.names(), requests.metadata(), requests.protocol())
    return [*requests.forms(), *islice(rest, 0, None, EVERY)]


def test_hostile_requests_are_refused_with_a_reason_and_bounded_memory(live: Live) -> None:
    outcomes = [judge(attempt, live) for attempt in sample()]
    assert len(outcomes) > 80
    assert [outcome for outcome in outcomes if outcome.verdict != "refused"] == []
    assert live.process.poll() is None
    assert live.memory_mebibytes() < MAX_API_MEBIBYTES


def test_a_hostile_pth_waits_for_a_worker_and_nothing_of_it_runs_in_the_api(live: Live, tmp_path: Path) -> None:
    witness = tmp_path / "executed"
    for index, (_, content) in enumerate(islice(pickles.code(witness), 4)):
        assert requests.register(live, f"hostile-{index}", content).status == 202
    assert not witness.exists()
