"""One client at a low, steady rate: the delay of an event from its publisher."""

import socket
import time
from collections.abc import Mapping
from contextlib import closing

from bench.attempts import try_each
from bench.load.child import Child
from bench.load.outcome import Outcome
from bench.peers.peer import Peer
from bench.quantiles import quantiles
from bench.report import Section, Table, Target
from bench.servers import OURS
from bench.session import session

EVENTS_PER_S = 100
SECONDS = 6.0
WAKE_UPS = 300
TARGET_P50_MS = 1.0
TARGET_P99_MS = 4.0


def measure(peers: Mapping[str, Peer]) -> Section:
    """Publish to every server in turn."""
    outcomes, notes = try_each(peers, _measure)
    columns = ("server", "p50 ms", "p99 ms", "max ms", "lost")
    rows: list[tuple[str, ...]] = [
        (
            peers[name].name,
            f"{outcome.p50_ms:.2f}",
            f"{outcome.p99_ms:.2f}",
            f"{outcome.max_ms:.2f}",
            f"{outcome.lost:,}",
        )
        for name, outcome in outcomes.items()
    ]
    wake_up = quantiles(_wake_ups_ms())
    rows.append(("a wake-up", *(f"{wake_up[key]:.2f}" for key in ("p50", "p99", "max")), ""))
    return Section(
        "One client",
        f"{EVENTS_PER_S} events/s for {SECONDS:.0f} s to one client; milliseconds from publishing "
        "in one process to receipt in another. An event of Event Relay passes two more processes "
        "and the journal: on its way one thread wakes another eight times. The last row is one "
        "such wake-up, over a loopback connection at the same rate.",
        (Table(columns, rows, notes),),
        _targets(outcomes[OURS]) if OURS in outcomes else (),
    )


class _Sleeper:
    """Waits for single bytes, in a process of its own."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port))

    def wait(self, count: int) -> list[int]:
        """Return the monotonic time of arrival of each of `count` bytes, in nanoseconds."""
        woken_at = []
        for _ in range(count):
            self._socket.recv(1)
            woken_at.append(time.monotonic_ns())
        return woken_at


def _wake_ups_ms() -> list[float]:
    with (
        closing(socket.create_server(("127.0.0.1", 0))) as listener,
        Child(_Sleeper, listener.getsockname()[1]) as sleeper,
        closing(listener.accept()[0]) as waker,
    ):
        sleeper.start("wait", WAKE_UPS)
        sent_at = []
        for _ in range(WAKE_UPS):
            time.sleep(1 / EVENTS_PER_S)
            sent_at.append(time.monotonic_ns())
            waker.send(b"\0")
        woken_at = sleeper.finish()
    return [(woken - sent) / 1e6 for sent, woken in zip(sent_at, woken_at, strict=True)]


def _measure(peer: Peer) -> Outcome:
    with session(peer, 1) as load:
        return load.paced(EVENTS_PER_S, SECONDS).outcome


def _targets(ours: Outcome) -> tuple[Target, ...]:
    return tuple(
        Target(
            f"{name} from emit() to receipt at most {limit:.0f} ms, with the journal",
            f"{reached:.2f} ms",
            reached <= limit and not ours.wrong,
        )
        for name, reached, limit in (
            ("p50", ours.p50_ms, TARGET_P50_MS),
            ("p99", ours.p99_ms, TARGET_P99_MS),
        )
    )
