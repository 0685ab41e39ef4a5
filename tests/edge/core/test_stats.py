"""The counters of a worker."""

from edge.core.stats import EdgeStats
from relay.shared.kind_counter import MAX_OTHER_KINDS, OTHER_KINDS


def test_a_worker_begins_with_nothing_counted() -> None:
    stats = EdgeStats()
    numbers = (
        stats.deliveries,
        stats.written,
        stats.slow_consumer,
        stats.disconnected,
        stats.conflated,
        stats.messages_received,
        stats.connections_accepted,
        stats.handshakes_refused,
        stats.short_of_descriptors,
    )
    assert numbers == (0,) * 9
    counters = [value for value in vars(stats).values() if hasattr(value, "total")]
    assert sum(each.total() for each in counters) == 0


def test_events_are_counted_under_a_bounded_number_of_kinds() -> None:
    stats = EdgeStats()
    stats.list_kinds(["event"])
    for counter in (stats.events_received, stats.events_forwarded, stats.events_filtered):
        for number in range(MAX_OTHER_KINDS + 10):
            counter[f"kind{number}"] += 1
        counter["event"] += 1
        assert len(counter) == MAX_OTHER_KINDS + 2
        assert (counter["event"], counter[OTHER_KINDS]) == (1, 10)
