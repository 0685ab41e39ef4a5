"""The sequencer numbers each stream 1, 2, 3… and live kinds not at all."""

from hypothesis import given
from hypothesis import strategies as st

from relay.core.sequencer import Sequencer
from relay.wire.header import Stamp

STREAMS = ("event", "task")


@given(st.lists(st.sampled_from([*STREAMS, "resource-monitor", "other"])))
def test_offsets_are_contiguous_from_1_within_each_stream(kinds: list[str]) -> None:
    sequencer = Sequencer(7, STREAMS)
    stamps = [(kind, sequencer.stamp(kind, 1000 + n)) for n, kind in enumerate(kinds)]
    for stream in STREAMS:
        offsets = [stamp.offset for kind, stamp in stamps if kind == stream]
        assert offsets == list(range(1, len(offsets) + 1))
        assert sequencer.tips[stream] == len(offsets)
    assert {stamp.offset for kind, stamp in stamps if kind not in STREAMS} <= {0}
    assert [stamp.relayed_at for _, stamp in stamps] == [1000 + n for n in range(len(kinds))]
    assert {stamp.epoch for _, stamp in stamps} <= {7}


def test_a_new_relay_tells_of_empty_streams() -> None:
    sequencer = Sequencer(7, STREAMS)
    assert sequencer.tips == {"event": 0, "task": 0}
    assert sequencer.journaled_kinds == STREAMS
    assert sequencer.is_journaled("task")
    assert not sequencer.is_journaled("resource-monitor")


def test_tips_that_were_handed_out_do_not_change() -> None:
    sequencer = Sequencer(7, STREAMS)
    before = sequencer.tips
    assert sequencer.stamp("event", 5) == Stamp(7, 1, 5)
    assert before == {"event": 0, "task": 0}
