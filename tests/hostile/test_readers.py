"""The readers of strangers' files, fuzzed for a few seconds; `make test-hostile` does it for longer."""

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.hostile import converting, readers


@settings(max_examples=300, deadline=None)
@given(readers.checkpoints)
def test_a_header_is_read_or_refused_with_a_sentence(content: bytes) -> None:
    readers.try_checkpoint(content)


@settings(max_examples=150, deadline=None)
@given(readers.reports, st.sampled_from([0, 1, -9, -31, -200]))
def test_a_report_is_read_or_refused_with_a_sentence(content: bytes, status: int) -> None:
    readers.try_report(content, status)


def test_the_good_ones_are_read() -> None:
    readers.try_checkpoint(readers.GOOD)
    readers.try_report(readers.SAID, 0)


def test_a_pth_file_is_converted_as_it_is_or_refused_with_a_sentence() -> None:
    assert converting.fuzz(200) < 20
