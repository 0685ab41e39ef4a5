"""The requests that wait, and about what they take."""

from edge.core.catch_up.selection import PendingSubscription
from edge.core.catch_up.states import ENTRY_BYTES, Entry, Marker, RequestQueue
from edge.core.protocol.requests import Subscribe, Unsubscribe
from relay.wire.topics import parse_pattern

PATTERN = parse_pattern("event:a")


def test_entries_leave_in_their_order_and_take_their_bytes_with_them() -> None:
    queue = RequestQueue()
    subscribe = Subscribe(PATTERN, since={"event": 1}, epoch=1)
    pending = PendingSubscription(subscribe, (PATTERN,))
    entries: list[Entry] = [subscribe, b"reply", Marker.END_OF_MORE, Unsubscribe(PATTERN), pending]
    for entry in entries:
        queue.append(entry)
    assert len(queue) == 5
    assert queue.size_bytes > 4 * ENTRY_BYTES
    assert [queue.pop() for _ in entries] == entries
    assert (len(queue), queue.size_bytes) == (0, 0)


def test_invented_streams_count_with_their_names() -> None:
    """A message of 64 KiB may name thousands of streams, or one with a very long name."""
    for since in ({str(number): 1 for number in range(5000)}, {"x" * 60_000: 1}):
        queue = RequestQueue()
        queue.append(Subscribe(PATTERN, since=since, epoch=1))
        assert queue.size_bytes > 200_000


def test_a_reply_counts_with_its_frame() -> None:
    queue = RequestQueue()
    queue.append(b"x" * 2000)
    assert queue.size_bytes == 2000
