"""`/metrics`: the counters of this worker for Prometheus."""

from collections.abc import Callable, Iterable

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from edge.fanout import Fanout


class EdgeCollector(Collector):
    """Reads plain counters when asked, so that the hot path pays nothing.

    With several workers each answers for itself; the label `worker`, a process id, says which.
    """

    def __init__(
        self,
        fanout: Fanout,
        connections: Callable[[], int],
        relay_is_alive: Callable[[], bool],
        worker: str,
    ) -> None:
        self._fanout = fanout
        self._connections = connections
        self._relay_is_alive = relay_is_alive
        self._worker = worker

    def collect(self) -> Iterable[Metric]:
        """See prometheus_client."""
        stats = self._fanout.stats
        manager = self._fanout.manager
        yield self._gauge(
            "relay_up", "1 while events arrive from the relay", float(self._relay_is_alive())
        )
        yield self._gauge("connections", "Open WebSocket connections", self._connections())
        yield self._gauge("users", "Users with a connection", len(manager.users))
        yield self._gauge(
            "subscriptions", "Subscriptions of all connections", manager.subscription_count
        )
        yield self._counter(
            "events_received", "Events from the relay", "kind", stats.events_received
        )
        yield self._counter(
            "events_filtered", "Events that no client here wanted", "kind", stats.events_filtered
        )
        yield self._counter(
            "malformed", "Messages from the relay that were dropped", "reason", stats.malformed
        )
        yield self._counter(
            "closed",
            "Connections closed by the edge",
            "code",
            {str(code): count for code, count in stats.closed.items()},
        )
        for name, help_text, value in (
            ("deliveries", "Event frames handed to connections", stats.deliveries),
            ("conflated", "Live values replaced while they waited", stats.conflated),
            ("messages_received", "Messages from clients", stats.messages_received),
            ("connections_accepted", "Handshakes completed", stats.connections_accepted),
            ("handshakes_refused", "Handshakes answered with 401", stats.handshakes_refused),
        ):
            family = CounterMetricFamily(f"edge_{name}", help_text, labels=["worker"])
            family.add_metric([self._worker], value)
            yield family

    def _gauge(self, name: str, help_text: str, value: float) -> Metric:
        family = GaugeMetricFamily(f"edge_{name}", help_text, labels=["worker"])
        family.add_metric([self._worker], value)
        return family

    def _counter(self, name: str, help_text: str, label: str, values: dict[str, int]) -> Metric:
        family = CounterMetricFamily(f"edge_{name}", help_text, labels=["worker", label])
        for value, count in tuple(values.items()):
            family.add_metric([self._worker, value], count)
        return family


def edge_registry(collector: EdgeCollector) -> CollectorRegistry:
    """Return a registry that holds `collector` alone."""
    registry = CollectorRegistry()
    registry.register(collector)
    return registry
