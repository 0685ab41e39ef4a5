"""How far an edge has come in each stream."""

import pytest

from edge.core.stats import Dropped
from edge.core.streams.record import unreadable_record
from edge.core.streams.streams import Stream, Streams
from relay.wire.control import Heartbeat
from relay.wire.topics import parse_pattern
from tests.edge.journal import record

LOW = {"event": 1, "task": 1}


@pytest.fixture
def streams() -> Streams:
    streams = Streams()
    streams.synchronize(7, {"event": 1042, "task": 77}, LOW)
    return streams


def beat(event: int, task: int) -> Heartbeat:
    """A heartbeat with these tips."""
    tips = {"event": event, "task": task}
    return Heartbeat(tips=tips, low=LOW, started_at=1, journaling=True)


def stream_of(streams: Streams, kind: str) -> Stream:
    stream = streams.get(kind)
    assert stream is not None
    return stream


def forward(streams: Streams, kind: str, offset: int) -> None:
    """The next event of `kind` arrives."""
    stream_of(streams, kind).take_live(record(offset, topic=f"{kind}:x"))


def test_before_the_relay_is_known_there_are_no_streams() -> None:
    streams = Streams()
    assert (streams.epoch, streams.offsets) == (0, {})
    assert not streams.is_stream("event")


def test_the_relay_says_which_kinds_are_streams(streams: Streams) -> None:
    assert streams.is_stream("event")
    assert not streams.is_stream("resource-monitor")
    streams.synchronize(8, {"audit": 1}, {"audit": 1})
    assert (streams.epoch, streams.offsets) == (8, {"audit": 1})
    assert not streams.is_stream("event")


def test_a_stream_begins_behind_the_tip_and_keeps_its_place_in_the_same_epoch(
    streams: Streams,
) -> None:
    forward(streams, "event", 1043)
    streams.synchronize(7, {"event": 1050, "task": 77}, LOW)
    assert streams.offsets == {"event": 1043, "task": 77}
    assert stream_of(streams, "event").follower.is_behind
    assert not stream_of(streams, "task").follower.is_behind
    assert streams.beginnings == {"event": 1042, "task": 77}


def test_a_relay_that_was_restarted_is_asked_at_once_for_what_is_missing(
    streams: Streams,
) -> None:
    """It knows nothing of the request that its predecessor was sent."""
    event = stream_of(streams, "event").follower
    streams.synchronize(7, {"event": 1050, "task": 77}, LOW)
    assert event.replay_request() == 1042
    assert event.replay_request() is None
    streams.synchronize(7, {"event": 1050, "task": 77}, LOW)
    assert event.replay_request() == 1042


def test_in_another_epoch_everything_begins_anew(streams: Streams) -> None:
    forward(streams, "event", 1043)
    streams.synchronize(8, {"event": 5, "task": 0}, LOW)
    assert streams.offsets == {"event": 5, "task": 0}
    assert stream_of(streams, "event").history.after(1042) is None
    assert streams.remembered_bytes == 0
    assert streams.beginnings == {"event": 5, "task": 0}


def test_a_kind_that_is_journaled_no_more_is_forgotten_and_a_new_one_begins(
    streams: Streams,
) -> None:
    streams.synchronize(7, {"event": 1042, "audit": 3}, {"event": 1, "audit": 1})
    assert streams.offsets == streams.beginnings == {"event": 1042, "audit": 3}


def test_events_that_were_held_when_a_stream_ended_are_counted() -> None:
    dropped = Dropped()
    streams = Streams(dropped=dropped)
    streams.synchronize(7, {"event": 1042, "task": 77}, LOW)
    for offset in (1044, 1045):
        forward(streams, "event", offset)
    streams.synchronize(8, {"event": 5, "task": 0}, LOW)
    assert dropped.out_of_order["event"] == 2


def test_a_heartbeat_reveals_a_lost_tail(streams: Streams) -> None:
    streams.take_heartbeat({"event": 1042, "task": 78}, {"event": 1000, "task": 1})
    assert not stream_of(streams, "event").follower.is_behind
    assert stream_of(streams, "task").follower.is_behind
    assert stream_of(streams, "event").history.journal_first == 1000


def test_a_heartbeat_that_does_not_name_a_stream_says_nothing_of_it() -> None:
    streams = Streams()
    streams.synchronize(7, {"event": 0}, {"event": 1})
    streams.take_heartbeat({}, {})
    event = stream_of(streams, "event")
    assert (event.follower.is_behind, event.history.journal_first) == (False, 1)


def test_a_selector_is_contained_in_a_stream_if_all_its_topics_are(streams: Streams) -> None:
    selectors = {
        text: streams.contain(parse_pattern(text))
        for text in ("event:a", "event:*", "event*", "*", "live:a", "live:*")
    }
    assert [text for text, is_contained in selectors.items() if is_contained] == [
        "event:a",
        "event:*",
    ]


def test_only_streams_that_are_served_in_part_are_followed() -> None:
    streams = Streams(("event:a", "resource-monitor:"))
    streams.synchronize(7, {"task": 2, "event": 1}, LOW)
    assert streams.offsets == {"event": 1}
    assert streams.serves("event:ab")
    assert not streams.serves("event:b")


@pytest.mark.parametrize(
    ("pattern", "kinds"),
    [
        ("event:a", ["event"]),
        ("event:*", ["event"]),
        ("event:a*", ["event"]),
        ("e*", ["event"]),
        ("event*", ["event"]),
        ("*", ["event", "task"]),
        ("task:1", ["task"]),
        ("events:a", []),
        ("events*", []),
        ("resource-monitor:a", []),
    ],
)
def test_the_streams_that_concern_a_pattern(
    streams: Streams, pattern: str, kinds: list[str]
) -> None:
    assert list(streams.offsets_concerning([parse_pattern(pattern)])) == kinds


def test_several_selectors_concern_the_streams_of_each(streams: Streams) -> None:
    selectors = [parse_pattern("task:1"), parse_pattern("event:*")]
    assert streams.offsets_concerning(selectors) == {"event": 1042, "task": 77}
    assert streams.offsets_concerning([]) == {}


class TestNewEpoch:
    """Clients that stay receive every event of a new epoch, and none twice."""

    def heartbeat(
        self, tip: int, began: int | None, *, previous: int | None = 7, started_at: int = 2
    ) -> Heartbeat:
        return Heartbeat(
            tips={"event": tip},
            low={"event": 1},
            started_at=started_at,
            journaling=True,
            previous=previous,
            began=None if began is None else {"event": began},
        )

    @pytest.fixture
    def streams(self) -> Streams:
        """Followed up to 1043 in a process that started at 1."""
        streams = Streams()
        streams.begins(self.heartbeat(1042, None, previous=None, started_at=1))
        streams.synchronize(7, {"event": 1042}, {"event": 1})
        forward(streams, "event", 1043)
        return streams

    @pytest.mark.parametrize(
        ("tip", "began", "begin"),
        [(1060, 1050, 1043), (1060, 1043, 1043), (1060, 1020, 1020), (1020, 1020, 1020)],
        ids=["behind the begin", "at the begin", "the journal lost events", "and has no new ones"],
    )
    def test_of_a_restarted_relay(self, streams: Streams, tip: int, began: int, begin: int) -> None:
        assert streams.begins(self.heartbeat(tip, began)) == {"event": begin}

    def test_of_a_journal_that_does_not_continue_ours(self, streams: Streams) -> None:
        assert streams.begins(self.heartbeat(2000, 1990, previous=6)) == {"event": 2000}
        assert streams.begins(self.heartbeat(20, None, previous=None)) == {"event": 20}

    def test_of_a_journal_that_was_begun_anew_in_the_place_of_ours(self, streams: Streams) -> None:
        assert streams.begins(self.heartbeat(20, 0)) == {"event": 0}

    def test_of_a_running_relay_whose_events_were_followed(self, streams: Streams) -> None:
        """The rollback was before it started: what came from it since is in its journal."""
        restarted = self.heartbeat(1043, None, previous=None)
        streams.begins(restarted)
        streams.synchronize(7, restarted.tips, restarted.low)
        forward(streams, "event", 1044)
        assert streams.begins(self.heartbeat(1050, 1043)) == {"event": 1044}
        assert streams.begins(self.heartbeat(1050, 1040)) == {"event": 1040}

    def test_of_a_running_relay_that_was_followed_from_its_first_event(self) -> None:
        streams = Streams()
        first = self.heartbeat(0, None, previous=None, started_at=1)
        streams.begins(first)
        streams.synchronize(7, first.tips, first.low)
        forward(streams, "event", 1)
        assert streams.begins(self.heartbeat(5, 0, started_at=1)) == {"event": 1}

    def test_of_a_stream_that_began_with_the_epoch(self, streams: Streams) -> None:
        heard = self.heartbeat(1060, 1050)
        heard = heard.model_copy(update={"tips": {"event": 1060, "audit": 3}})
        assert streams.begins(heard) == {"event": 1043, "audit": 0}

    def test_streams_begin_there(self, streams: Streams) -> None:
        streams.synchronize(8, {"event": 1060}, {"event": 1}, {"event": 1020})
        assert streams.offsets == {"event": 1020}
        assert stream_of(streams, "event").follower.is_behind

    def test_a_journal_that_ends_before_our_head_is_another(self, streams: Streams) -> None:
        assert streams.are_ahead_of(self.heartbeat(1042, None))
        assert not streams.are_ahead_of(self.heartbeat(1043, None))

    @pytest.mark.parametrize(("start", "started_at"), [(1042, 0), (1043, 2), (1044, 2), (1041, 2)])
    def test_one_that_gave_our_offsets_to_others_is_another(
        self, streams: Streams, start: int, started_at: int
    ) -> None:
        """Our event after the start of the relay process is older than the process."""
        heard = self.heartbeat(2000, None, started_at=started_at)
        heard = heard.model_copy(update={"start": {"event": start}})
        assert not streams.are_ahead_of(heard)
        rolled_back = self.heartbeat(2000, None, started_at=2)
        rolled_back = rolled_back.model_copy(update={"start": {"event": 1042}})
        assert streams.are_ahead_of(rolled_back)
        place = streams.place
        assert place is not None
        assert place.heads["event"] == (1043, record(1043, topic="event:x").checksum)

    def rolled_back(self) -> Heartbeat:
        """The heartbeat of a process that gave the offsets after 1042 to other events."""
        return self.heartbeat(2000, None).model_copy(update={"start": {"event": 1042}})

    def test_the_event_that_is_another_now_is_named_until_the_next_epoch(
        self, streams: Streams
    ) -> None:
        forward(streams, "event", 1044)
        assert streams.are_ahead_of(self.rolled_back())
        place = streams.place
        assert place is not None
        assert place.heads["event"] == (1043, record(1043, topic="event:x").checksum)
        streams.synchronize(7, {"event": 1044}, {"event": 1})
        place = streams.place
        assert place is not None
        assert place.heads["event"] == (1044, record(1044, topic="event:x").checksum)

    def test_a_placeholder_does_not_show_that_it_is_another(self) -> None:
        streams = Streams()
        streams.synchronize(7, {"event": 1042}, {"event": 1})
        stream_of(streams, "event").take_live(unreadable_record("event", 1043))
        assert not streams.are_ahead_of(self.rolled_back())


def test_one_stream_with_lost_events_is_enough(streams: Streams) -> None:
    assert streams.are_ahead_of(beat(1041, 77))
    assert streams.are_ahead_of(beat(1042, 76))
    assert not streams.are_ahead_of(beat(1042, 77))


def test_the_place_names_the_newest_event_of_each_stream(streams: Streams) -> None:
    assert Streams().place is None
    forward(streams, "event", 1043)
    checksum = record(1043, topic="event:x").checksum
    assert checksum is not None
    assert streams.place == (7, {"event": (1043, checksum), "task": (77, None)})
