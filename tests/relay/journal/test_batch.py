"""A run knows its offsets."""

from relay.journal.batch import Run
from tests.relay.journal.journals import NOW_MS, event


def test_a_run_ends_with_its_last_event() -> None:
    assert Run(5, NOW_MS, [event(1)]).last_offset == 5
    assert Run(5, NOW_MS, [event(1), event(2), event(3)]).last_offset == 7
