"""All clients connect at once: the time until all are served, and the delay of live clients."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.load.clients import Connected, Plan
from bench.load.generator import LoadGenerator
from bench.load.outcome import Outcome
from bench.load.payload import TOPIC
from bench.load.publisher import Publisher
from bench.meters import cpu_s, rss_bytes
from bench.peers.event_relay import Running, run_relay_and_edge
from bench.peers.peer import Peer
from bench.report import Section, Table, Target

LIVE_TOPIC = "event:live"
LIVE_CLIENTS = 100
LIVE_EVENTS_PER_S = 100.0
SLICE_EVENTS = 25
CLIENTS = 10_000
SUBSCRIPTIONS = (TOPIC, "resource-monitor:survival")
NAMES = ("first time", "again, same tokens")
IN_FLIGHT = 512
TARGET_S = 5.0
TARGET_LIVE_P99_MS = 250.0
TARGET_BYTES = 16 * 1024


@dataclass(frozen=True)
class Storm:
    """The results of one storm."""

    connected: Connected
    edge_cpu_s: float
    live: Outcome
    """The live clients, from the begin of the storm to its end."""
    reached: Outcome
    """The clients of the storm, for one event after it."""
    edge_growth_bytes: int


class _Scene:
    """An edge with live clients, and a crowd that will connect."""

    def __init__(self, running: Running, stack: ExitStack) -> None:
        self._running = running
        self._edge = running.pids["edge"]
        self._live = stack.enter_context(LoadGenerator())
        self._crowd = stack.enter_context(LoadGenerator())
        self._to_live = stack.enter_context(Publisher(running.sender((LIVE_TOPIC,))))
        self._plan = Plan(running.dialect(CLIENTS, (SUBSCRIPTIONS,)), CLIENTS, in_flight=IN_FLIGHT)
        self._live.connect(Plan(running.dialect(LIVE_CLIENTS, ((LIVE_TOPIC,),)), LIVE_CLIENTS))

    def storm(self, name: str) -> Storm:
        """Connect the crowd, send it one event, and disconnect it."""
        first = self._publish_live()
        rss, cpu = rss_bytes(self._edge), cpu_s(self._edge)
        self._crowd.start_connecting(self._plan)
        published = self._publish_live()
        while not self._crowd.has_answered:
            published = self._publish_live()
        connected = self._crowd.finish()
        cpu = cpu_s(self._edge) - cpu
        self._live.drain(published)
        live = self._live.judge(published, since=first)
        growth = rss_bytes(self._edge) - rss
        with Publisher(self._running.sender((TOPIC,), name)) as publisher:
            published = publisher.paced(1, events_per_s=1.0)
            self._crowd.drain(published)
        reached = self._crowd.judge(published)
        self._crowd.hang_up()
        return Storm(connected, cpu, live, reached, growth)

    def _publish_live(self) -> int:
        return self._to_live.paced(SLICE_EVENTS, LIVE_EVENTS_PER_S)


def measure(_peers: Mapping[str, Peer]) -> Section:
    """Connect the crowd, disconnect it, and connect it again."""
    with ExitStack() as stack:
        directory = Path(stack.enter_context(TemporaryDirectory()))
        running = stack.enter_context(run_relay_and_edge(directory))
        scene = _Scene(running, stack)
        storms = [scene.storm(name) for name in NAMES]
    return _section(storms)


def _section(storms: Sequence[Storm]) -> Section:
    columns = (
        *("", "seconds", "clients/s", "retries", "edge CPU µs a client", "edge KB a client"),
        *("live p50 ms", "live p99 ms", "live max ms", "one event afterwards ms"),
    )
    rows = [
        (
            name,
            f"{storm.connected.seconds:.2f}",
            f"{CLIENTS / storm.connected.seconds:,.0f}",
            f"{storm.connected.retries:,}",
            f"{storm.edge_cpu_s / CLIENTS * 1e6:.0f}",
            f"{storm.edge_growth_bytes / CLIENTS / 1024:.1f}",
            f"{storm.live.p50_ms:.1f}",
            f"{storm.live.p99_ms:.1f}",
            f"{storm.live.max_ms:.1f}",
            f"{storm.reached.max_ms:.0f}",
        )
        for name, storm in zip(NAMES, storms, strict=True)
    ]
    faults = tuple(
        fault for storm in storms for fault in (*storm.live.faults, *storm.reached.faults)
    )
    first = storms[0]
    bytes_each = first.edge_growth_bytes / CLIENTS
    complete = not faults
    return Section(
        "Storm",
        f"{CLIENTS:,} clients connect as fast as they can, at most {IN_FLIGHT} at a time. Each is "
        "a user with a token of its own, and subscribes to two topics; the clock stops at the last "
        "reply. Clients that are told to come back later do so. Meanwhile "
        f"{LIVE_CLIENTS} clients are live at {LIVE_EVENTS_PER_S:.0f} events/s; the edge's CPU "
        "includes them. An event after the storm must reach all clients.",
        (Table(columns, rows, faults),),
        (
            Target(
                f"{CLIENTS:,} clients authenticated and subscribed within {TARGET_S:.0f} s",
                f"{first.connected.seconds:.2f} s",
                complete and first.connected.seconds <= TARGET_S,
            ),
            Target(
                f"p99 of every live client meanwhile at most {TARGET_LIVE_P99_MS:.0f} ms",
                f"{first.live.worst_p99_ms:.0f} ms",
                complete and first.live.worst_p99_ms <= TARGET_LIVE_P99_MS,
            ),
            Target(
                f"an idle client, two subscriptions, costs the edge at most {TARGET_BYTES:,} bytes",
                f"{bytes_each:,.0f} bytes",
                complete and bytes_each <= TARGET_BYTES,
            ),
        ),
    )
