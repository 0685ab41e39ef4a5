"""The sequencer gives out 1, 2, 3… in each stream, and counts what is in the journal."""

from hypothesis import given
from hypothesis import strategies as st

from relay.core.sequencer import Sequencer

STREAMS = ("event", "task")


@given(
    st.fixed_dictionaries({stream: st.integers(0, 2**40) for stream in STREAMS}),
    st.lists(st.tuples(st.sampled_from(STREAMS), st.integers(1, 300))),
)
def test_offsets_go_on_from_the_tips_within_each_stream(
    tips: dict[str, int], batches: list[tuple[str, int]]
) -> None:
    sequencer = Sequencer(7, tips)
    expected = dict(tips)
    for stream, count in batches:
        assert sequencer.next_offset(stream) == expected[stream] + 1
        sequencer.advance(stream, count)
        expected[stream] += count
        assert sequencer.tips == expected
    assert sequencer.epoch == 7


def test_an_offset_that_was_not_committed_is_given_out_again() -> None:
    sequencer = Sequencer(7, {"event": 41})
    assert sequencer.next_offset("event") == 42
    assert sequencer.next_offset("event") == 42
    assert sequencer.tips == {"event": 41}


def test_its_streams_are_the_journaled_kinds() -> None:
    sequencer = Sequencer(7, {"event": 0, "task": 0})
    assert sequencer.journaled_kinds == STREAMS
    assert sequencer.is_journaled("task")
    assert not sequencer.is_journaled("resource-monitor")


def test_tips_that_were_handed_out_do_not_change() -> None:
    tips = {"event": 0, "task": 0}
    sequencer = Sequencer(7, tips)
    before = sequencer.tips
    sequencer.advance("event", 5)
    assert (before, tips) == ({"event": 0, "task": 0}, {"event": 0, "task": 0})
