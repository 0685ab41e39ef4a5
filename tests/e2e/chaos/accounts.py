"""Checks that the counters of relay, emitters and edges add up (protocol section 9)."""

from collections.abc import Iterator
from typing import Any

from tests.support.swarm_client import ConnectionAccount


def relay_problems(stats: dict[str, Any]) -> Iterator[str]:
    """The relay relayed each received event or refused it for a counted reason."""
    relayed, malformed, refused = (
        sum(stats[name].values()) for name in ("relayed", "malformed", "refused")
    )
    if stats["received"] != relayed + malformed + refused:
        yield (
            f"relay: received {stats['received']}, but {relayed} relayed, {malformed} malformed"
            f" and {refused} refused"
        )
    if malformed:
        yield f"relay: malformed {stats['malformed']}"
    if lost := stats["refused"].get("best_effort_drop"):
        yield f"relay: {lost} events were given up, though every emitter is tracked"
    for name, stream in stats["streams"].items():
        if stream["retention"]:
            yield f"relay: retention took {stream['retention']} events of {name}"


def emitter_problems(stats: dict[str, Any], told: dict[str, dict[str, int]]) -> Iterator[str]:
    """The relay's counters of each emitter equal the emitter's own; `told` maps names to those."""
    known = {emitter["name"]: emitter for emitter in stats["emitters"]}
    for name, own in told.items():
        reported = known[name]["reported"]
        if reported["accepted"] != reported["acknowledged"]:
            yield f"{name}: {reported} after it has handed over everything"
        if reported["outbox_full"] != own["outbox_full"]:
            yield f"{name}: reported {reported}, but counted {own}"


def edge_problems(name: str, metrics: dict[str, dict[str, float]]) -> Iterator[str]:
    """Each event at the edge, and each frame for a client, is counted by its end."""
    parts = ("events_forwarded", "events_filtered", "repeated", "out_of_order")
    for kind, received in metrics["edge_events_received"].items():
        ends = {part: metrics[f"edge_{part}"].get(kind, 0.0) for part in parts}
        if received != sum(ends.values()):
            yield f"{name}: received {received:.0f} of {kind}, but {ends}"
    if any(metrics["edge_malformed"].values()) or metrics["edge_held"][""]:
        yield f"{name}: malformed {metrics['edge_malformed']}, held {metrics['edge_held']}"
    if any(metrics["edge_retention"].values()):
        yield f"{name}: the relay no longer had {metrics['edge_retention']}"
    handed = metrics["edge_deliveries"][""] + metrics["edge_messages_sent"][""]
    ways = ("written", "slow_consumer", "disconnected", "conflated", "waiting")
    ends = {way: metrics[f"edge_{way}"][""] for way in ways}
    if handed != sum(ends.values()):
        yield f"{name}: {handed:.0f} frames for clients, but {ends}"


def delivery_problems(
    name: str, written: float, accounts: list[ConnectionAccount]
) -> Iterator[str]:
    """The clients received each frame that the edge wrote, except on cut connections.

    `accounts` are those of the connections to the present life of the edge.
    """
    arrived = sum(account.frames for account in accounts)
    cut = sum(not account.is_whole for account in accounts)
    if arrived > written or (arrived < written and not cut):
        yield f"{name}: wrote {written:.0f} frames, {arrived} came, {cut} connections were cut"
