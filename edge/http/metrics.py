"""`/metrics`: the counters of all workers of this edge for Prometheus."""

from collections.abc import Iterable
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from edge.core.control.readiness import Readiness
from edge.core.hub.connections import ConnectionManager
from edge.core.stats import EdgeStats
from edge.core.streams.streams import Streams
from edge.websocket.endpoint import ClientEndpoint


class EdgeCollector(Collector):
    """Reads plain counters when asked, so that the event path pays nothing.

    The label `worker`, a process id, names the worker.
    """

    def __init__(
        self,
        stats: EdgeStats,
        manager: ConnectionManager,
        streams: Streams,
        clients: ClientEndpoint,
        readiness: Readiness,
        worker: str,
    ) -> None:
        self._stats = stats
        self._manager = manager
        self._streams = streams
        self._clients = clients
        self._readiness = readiness
        self._worker = worker

    def collect(self) -> Iterable[Metric]:
        """See prometheus_client."""
        yield from self._gauges()
        yield from self._labelled_counters()
        yield from self._counters()

    def _gauges(self) -> Iterable[Metric]:
        manager, clients, relay = self._manager, self._clients, self._readiness.relay
        held = sum(stream.follower.held_count for stream in self._streams)
        for name, help_text, value in (
            ("ready", "1 while a resume would succeed", self._readiness.trouble is None),
            ("relay_up", "1 while events arrive from the relay", relay.is_alive),
            ("relay_journaling", "1 while the relay writes its journal", relay.is_journaling),
            ("revocations", "Revoked tokens and users", len(self._readiness.revocations)),
            ("workers", "Workers that this edge should have", clients.settings.workers),
            ("connections", "Open WebSockets and event streams", len(clients)),
            ("unauthenticated", "Those whose user is not known", len(clients.arrivals.anonymous)),
            ("max_connections", "Connections that this worker takes", clients.max_connections),
            ("users", "Users with a connection", len(manager.users)),
            ("subscriptions", "Subscriptions of all connections", manager.quota.count),
            ("subscription_bytes", "Bytes of their topics", manager.quota.size_bytes),
            ("catching_up", "Connections being sent what they missed", clients.catching_up),
            ("waiting", "Frames that wait for slow clients", clients.waiting_frames),
            ("waiting_bytes", "Bytes that wait for slow clients", clients.waiting_bytes),
            ("waiting_requests", "Handshakes and messages to do", clients.waiting_requests),
            ("held", "Events that wait for missing ones before them", held),
            ("history_bytes", "Memory of remembered events", self._streams.remembered_bytes),
            ("presence_seats", "Users at topics with presence", self._stats.presence.seats),
            ("presence_unlisted", "Users without room in it", self._stats.presence.unlisted),
        ):
            yield self._gauge(name, help_text, float(value))

    def _labelled_counters(self) -> Iterable[Metric]:
        stats, refused = self._stats, self._stats.arrivals
        closed = {str(code): count for code, count in stats.closed.items()}
        for name, help_text, label, values in (
            ("events_received", "Events from the relay", "kind", stats.events_received),
            ("events_forwarded", "Events handed to clients", "kind", stats.events_forwarded),
            ("events_filtered", "Events no client here wanted", "kind", stats.events_filtered),
            ("repeated", "Events that had arrived before", "kind", stats.dropped.repeated),
            (
                "out_of_order",
                "Events dropped because one before them was missing; replayed later",
                "kind",
                stats.dropped.out_of_order,
            ),
            ("retention", "Missed events the relay no longer had", "kind", stats.retention),
            ("replayed", "Events asked for by resuming clients", "kind", stats.replayed),
            ("malformed", "Events from the relay that were dropped", "reason", stats.malformed),
            ("unreadable", "Malformed past events, asked for again", "reason", stats.unreadable),
            ("messages_refused", "Messages not understood", "reason", refused.messages_refused),
            ("closed", "Connections closed by the edge", "code", closed),
            (
                "publish_requests",
                "Requests to publish, by HTTP",
                "outcome",
                stats.http.publish_requests,
            ),
            ("sign_ins", "Sign-ins with a password", "outcome", stats.sign_ins),
            ("requests_refused", "HTTP requests given up", "status", refused.requests_refused),
            ("address_refusals", "Of addresses with too many", "limit", refused.address_refusals),
        ):
            yield self._counter(name, help_text, label, values)

    def _counters(self) -> Iterable[Metric]:
        stats = self._stats
        for name, help_text, value in (
            ("deliveries", "Event frames handed to connections", stats.deliveries),
            ("messages_sent", "Other frames handed to connections", self._manager.messages_sent),
            ("written", "Frames that connections took", stats.written),
            ("slow_consumer", "Frames given up when closing with 4008", stats.slow_consumer),
            ("disconnected", "Frames not written when a client went", stats.disconnected),
            ("conflated", "Live values replaced while they waited", stats.conflated),
            ("presence_left_out", "Presence of others not taken", stats.presence.left_out),
            ("messages_received", "Messages from clients", stats.messages_received),
            ("published", "Events published by HTTP", stats.http.published),
            ("event_streams", "Event streams (SSE) begun", stats.http.event_streams),
            ("catch_up_waits", "Waits for a user's budget", self._clients.catch_up_waits),
            ("message_waits", "Waits for a user's share", self._clients.requests.rests),
            ("accepts_refused", "Connections that came too fast", stats.arrivals.accepts_refused),
            ("gave_way", "Silent connections ended for newer ones", stats.arrivals.gave_way),
            ("connections_accepted", "Handshakes completed", stats.connections_accepted),
            ("handshakes_refused", "Handshakes answered with an error", stats.handshakes_refused),
            (
                "short_of_descriptors",
                "Connections refused because descriptors were short",
                stats.short_of_descriptors,
            ),
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


Snapshot = list[Any]
"""The metrics of one worker as JSON: name, help, type, and samples of name, labels, value."""


def snapshot(collector: Collector) -> Snapshot:
    """Return the present metrics, to be sent to another worker."""
    return [
        [
            metric.name,
            metric.documentation,
            metric.type,
            [[each.name, each.labels, each.value] for each in metric.samples],
        ]
        for metric in collector.collect()
    ]


class EdgeMetrics(Collector):
    """The metrics of several workers as those of one edge, one family for each name."""

    def __init__(self, snapshots: Iterable[Snapshot]) -> None:
        self._families: dict[str, Metric] = {}
        for each in snapshots:
            for name, documentation, kind, samples in each:
                family = self._families.setdefault(name, Metric(name, documentation, kind))
                for sample, labels, value in samples:
                    family.add_sample(sample, labels, value)

    def collect(self) -> Iterable[Metric]:
        """See prometheus_client."""
        return self._families.values()


def exposition(snapshots: Iterable[Snapshot]) -> bytes:
    """Return the metrics of all workers in the text format of Prometheus."""
    registry = CollectorRegistry()
    registry.register(EdgeMetrics(snapshots))
    return generate_latest(registry)
