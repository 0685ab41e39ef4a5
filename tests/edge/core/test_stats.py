"""The counters of a worker."""

from edge.core.stats import EdgeStats


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
