"""Many hostile clients at once: the api answers others meanwhile, and its memory grows by little."""

from collections.abc import Iterator

import pytest

from tests.hostile import crowds
from tests.hostile.run import MAX_API_MEBIBYTES
from tests.live import Live, live_api


@pytest.fixture(scope="module")
def live() -> Iterator[Live]:
    """An api that waits two seconds for the rest of a body."""
    with live_api(SAT_STALL_SECONDS="2") as running:
        yield running


def test_crowds_of_clients_take_little_memory(live: Live) -> None:
    outcomes = list(crowds.outcomes(live))
    assert len(outcomes) == 13
    assert [outcome for outcome in outcomes if outcome.verdict != "refused"] == []
    assert live.process.poll() is None
    assert live.memory_mebibytes() < MAX_API_MEBIBYTES
