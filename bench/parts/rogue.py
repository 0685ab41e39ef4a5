"""Rogue clients of the edge and rogue peers of the relay: the delay of the honest, and memory."""

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from bench.load.child import Child
from bench.load.clients import Plan
from bench.load.outcome import Outcome
from bench.load.payload import TOPIC
from bench.load.rogue_peers import RoguePeer
from bench.load.rogues import FLOODING, MIXED, SUBSCRIBING, Rogues, Siege
from bench.meters import peak_rss, rss_bytes
from bench.peers.event_relay import Running, run_relay_and_edge
from bench.peers.peer import Peer
from bench.quantiles import median
from bench.report import Section, Table, Target
from bench.session import load

HONEST = 100
EVENTS_PER_S = 100
SECONDS = 6.0
RISE_S = 5.0
"""For a siege to be complete."""
ROUNDS = 3
ROGUES = 10_000
ROGUE_USERS = 20
MAX_CONNECTIONS = 1_000
"""`EDGE_MAX_CONNECTIONS_PER_USER` by default."""
TOPICS_EACH = 10
"""With so many connections, `EDGE_MAX_SUBSCRIPTIONS_PER_USER` by default."""
REST_S = 60.0
SETTINGS = {"EDGE_HISTORY_BYTES": str(2**20)}
"""Full before the attack: the memory of further events is no memory of the attack."""
TARGET_SIEGE_P99_MS = 250.0
TARGET_RATIO = 1.2
TARGET_MEMORY = 1.1
MIB = 2**20
SOCKETS = ("ingress", "egress", "control")


class Round(NamedTuple):
    """The honest clients before, during and after one attack."""

    before: Outcome
    during: Outcome
    after: Outcome
    attackers: int
    """Connected at most."""
    memory: tuple[int, int, int]
    """Bytes of relay and edge before, at most, and when they were least afterwards."""

    @property
    def ratio(self) -> float:
        """The p99 during the attack, divided by the p99 before."""
        return self.during.p99_ms / self.before.p99_ms

    @property
    def faults(self) -> tuple[str, ...]:
        """The honest clients that missed something, or were closed."""
        return (*self.before.faults, *self.during.faults, *self.after.faults)

    @property
    def rest(self) -> float:
        """The memory afterwards, divided by that before."""
        return self.memory[2] / self.memory[0]


Attackers = Callable[[Running], Child]
"""Make the attackers, which wait for `begin`."""


def measure(_peers: Mapping[str, Peer]) -> Section:
    """Measure each attack in a cluster of its own."""
    found = {
        f"{ROGUES:,} connections of all kinds": [_measure(_siege)],
        "one user at every maximum": _rounds(_greedy_user),
    }
    for keyed, text in ((False, "without keys"), (True, "with its key")):
        for name in SOCKETS:
            found[f"a peer of the {name}, {text}"] = _rounds(_peer(name), keyed=keyed)
    return _section(found)


def _rounds(attackers: Attackers, *, keyed: bool = False) -> list[Round]:
    return [_measure(attackers, keyed=keyed) for _ in range(ROUNDS)]


def _measure(attackers: Attackers, *, keyed: bool = False) -> Round:
    with (
        TemporaryDirectory() as directory,
        run_relay_and_edge(Path(directory), SETTINGS, keyed=keyed) as running,
    ):
        server = running.server(HONEST, (TOPIC,), ((TOPIC,),))
        with (
            load(server, Plan(server.dialect, HONEST)) as loaded,
            attackers(running) as attack,
        ):
            before = loaded.paced(EVENTS_PER_S, SECONDS).outcome
            pids = tuple(running.pids.values())
            at_first = sum(map(rss_bytes, pids))
            with peak_rss(pids[0]) as relay_peak, peak_rss(pids[1]) as edge_peak:
                attack.call("begin")
                during = loaded.paced(EVENTS_PER_S, SECONDS, warm_up_s=RISE_S).outcome
                attack.start("end")
                after = loaded.paced(EVENTS_PER_S, SECONDS, warm_up_s=0).outcome
                attackers_seen, _ = attack.finish()
            at_last = _least_memory(pids, round(at_first * TARGET_MEMORY))
    memory = (at_first, relay_peak.value + edge_peak.value, at_last)
    return Round(before, during, after, attackers_seen, memory)


def _least_memory(pids: Sequence[int], enough: int) -> int:
    """Return the memory when it is `enough` or less, or the least of the next minute."""
    least = sum(map(rss_bytes, pids))
    deadline = time.monotonic() + REST_S
    while least > enough and time.monotonic() < deadline:
        time.sleep(1)
        least = min(least, sum(map(rss_bytes, pids)))
    return least


def _siege(running: Running) -> Child:
    tokens = tuple(running.cluster.token(f"rogue-{number}") for number in range(ROGUE_USERS))
    return Child(Rogues, Siege(running.edge.port, ROGUES, MIXED, tokens, TOPICS_EACH))


def _greedy_user(running: Running) -> Child:
    token = running.cluster.token("greedy")
    kinds = (FLOODING, *[SUBSCRIBING] * 9)
    return Child(Rogues, Siege(running.edge.port, MAX_CONNECTIONS, kinds, (token,), TOPICS_EACH))


def _peer(name: str) -> Attackers:
    def make(running: Running) -> Child:
        endpoint = getattr(running.cluster, name)
        role = "rogue-emitter" if name == "ingress" else "rogue-edge"
        keys = running.keys.client(role) if running.keys else None
        return Child(RoguePeer, name, endpoint, keys)

    return make


def _section(found: Mapping[str, Sequence[Round]]) -> Section:
    [siege, *others] = found.items()
    faults = tuple(
        f"{name}: {fault}"
        for name, rounds in found.items()
        for each in rounds
        for fault in each.faults
    )
    worst_name, worst = max(others, key=lambda item: median(item[1], lambda each: each.ratio))
    worst_ratio = median(worst, lambda each: each.ratio)
    siege_p99 = siege[1][0].during.p99_ms
    rest_name, rest = max(
        ((name, each.rest) for name, rounds in found.items() for each in rounds),
        key=lambda item: item[1],
    )
    return Section(
        "Rogues",
        f"{HONEST} honest clients at {EVENTS_PER_S} events/s, for {SECONDS:.0f} s each before, "
        f"during and after an attack, which begins {RISE_S:.0f} s before it is measured and ends "
        "with all attackers hanging up at once. The first row has silent connections, forged "
        f"tokens, floods of messages and subscriptions in equal parts, from 100 addresses; the "
        f"second {MAX_CONNECTIONS:,} connections of one user, a tenth of which flood, and the "
        "others have as many subscriptions as a user may have. A rogue peer sends messages that "
        "are no events, subscribes and unsubscribes, or asks for replays and counters, as fast as "
        "it can. Attackers run at the lowest priority: theirs would be other machines. Memory is "
        f"that of relay and edge, before, at most, and within {REST_S:.0f} s after. All but the "
        f"first are medians of {ROUNDS} rounds, each with a new relay and edge.",
        (
            Table(
                (
                    *("attack", "attackers", "p99 ms before", "during", "after", "ratio"),
                    *("lost or late", "MiB before", "at most", "after"),
                ),
                [_row(name, rounds) for name, rounds in found.items()],
                faults,
            ),
        ),
        (
            Target(
                f"{ROGUES:,} rogues: p99 below {TARGET_SIEGE_P99_MS:.0f} ms, nobody dropped",
                f"{siege_p99:.1f} ms",
                siege_p99 < TARGET_SIEGE_P99_MS and not siege[1][0].faults,
            ),
            Target(
                f"the p99 of the others stays within {TARGET_RATIO} x, nobody dropped",
                f"{worst_ratio:.2f} x, {worst_name}",
                worst_ratio <= TARGET_RATIO and not faults,
            ),
            Target(
                "memory is back within 10% after a minute",
                f"{rest:.2f} x, {rest_name}",
                rest <= TARGET_MEMORY,
            ),
        ),
    )


def _row(name: str, rounds: Sequence[Round]) -> tuple[str, ...]:
    outcomes = [outcome for each in rounds for outcome in (each.before, each.during, each.after)]
    return (
        name,
        f"{max(each.attackers for each in rounds):,}",
        f"{median(rounds, lambda each: each.before.p99_ms):.1f}",
        f"{median(rounds, lambda each: each.during.p99_ms):.1f}",
        f"{median(rounds, lambda each: each.after.p99_ms):.1f}",
        f"{median(rounds, lambda each: each.ratio):.2f}",
        f"{sum(outcome.lost for outcome in outcomes):,}",
        *(f"{max(each.memory[place] for each in rounds) / MIB:.0f}" for place in range(3)),
    )
