"""The scenarios that every way to watch must pass, each written once.

A scenario is played once, with a client of each driver at the same time. It returns the judgement
of one client, which is then made for each of them.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

from tests.conformance.stage import PATIENCE_S, Stage
from tests.conformance.told import Driver, NewEpoch, Refused
from tests.support.waiting import wait_for

Judge = Callable[[Driver], None]


@dataclass(frozen=True)
class Scenario:
    """One scenario."""

    play: Callable[[Stage], Judge]
    has_own_relay: bool = False
    """Whether it needs a relay of its own, which it starts itself."""
    needs: str = ""
    """An ability that a driver must have: `renew`."""

    def __str__(self) -> str:
        return self.play.__name__


def exactly(expected: dict[str, list[int]]) -> Judge:
    """Each name has exactly these numbers in this order, and nothing is lost.

    The last number comes behind everything that could be too much.
    """

    def judge(client: Driver) -> None:
        wait_for(
            lambda: all(
                client.numbers(via)[-1:] == numbers[-1:] for via, numbers in expected.items()
            ),
            f"{expected}; told {client.told}, closes {client.closes}",
            PATIENCE_S,
        )
        assert {via: client.numbers(via) for via in expected} == expected
        assert client.losses() == []
        assert NewEpoch() not in client.told
        for via in expected:
            offsets = [each.offset for each in client.heard(via) if not each.is_retained]
            assert all(a < b for a, b in pairwise(offsets) if a is not None and b is not None)

    return judge


def both(*judges: Judge) -> Judge:
    """All of the judgements."""

    def judge(client: Driver) -> None:
        for each in judges:
            each(client)

    return judge


def order(stage: Stage) -> Judge:
    """Events come in order; with `last` the newest ones come first."""
    stage.emit("event:order", *range(1, 6))
    stage.watch("event:order", last=3)
    stage.emit("event:order", *range(6, 40))
    return exactly({"event:order": list(range(3, 40))})


def overlap(stage: Stage) -> Judge:
    """An event that several subscriptions match comes once for each."""
    stage.watch("event:over*", "event:overlap")
    stage.emit("event:overlap", 1, 2)
    stage.emit("event:overnight", 3)
    stage.emit("event:overlap", 4)
    return exactly({"event:over*": [1, 2, 3, 4], "event:overlap": [1, 2, 4]})


def permission(stage: Stage) -> Judge:
    """A refused topic has the code `forbidden`, and disturbs no other."""
    stage.watch("event:permitted", "secret:x", "task:x")
    stage.emit("secret:x", 1)
    stage.emit("event:permitted", 2)

    def refused(client: Driver) -> None:
        found = {each for each in client.told if isinstance(each, Refused)}
        assert found == {Refused("secret:x", "forbidden"), Refused("task:x", "forbidden")}

    return both(exactly({"event:permitted": [2], "secret:x": []}), refused)


def personal(stage: Stage) -> Judge:
    """Tasks and addressed events reach their user alone, without a subscription."""
    stage.emit("task:theirs", 0, username="carol")
    stage.watch("event:personal", username="carol", role="admin")
    stage.until_heard("tasks", 0)
    for username in ("carol", "dave"):
        stage.emit("task:theirs" if username == "carol" else "task:other", 1, username=username)
        stage.emit("notice:1", 2, username=username)
        stage.emit("event:personal", 3, username=username)
    stage.emit("task:theirs", 4, username="carol")
    stage.emit("notice:1", 5, username="carol")
    stage.emit("event:personal", 6)

    def retained(client: Driver) -> None:
        assert [each.is_retained for each in client.heard("tasks")] == [True, False, False]
        assert client.heard("addressed")[1].topic == "event:personal"

    # An event for one user also reaches the subscriptions that match its topic.
    expected = {"tasks": [0, 1, 4], "addressed": [2, 3, 5], "event:personal": [3, 6]}
    return both(exactly(expected), retained)


def live_values(stage: Stage) -> Judge:
    """The last value of a live topic comes at once, and then each newest."""
    stage.emit("resource-monitor:conform", 1, 2)
    stage.watch("resource-monitor:conform")
    stage.until_heard("resource-monitor:conform", 2)
    stage.emit("resource-monitor:conform", 3)

    def judge(client: Driver) -> None:
        wait_for(lambda: client.numbers("resource-monitor:conform")[-1:] == [3], "the newest value")
        assert client.numbers("resource-monitor:conform") == [2, 3]
        assert [each.offset for each in client.heard("resource-monitor:conform")] == [None, None]

    return judge


def expiry(stage: Stage) -> Judge:
    """A token that expires ends the connection with 4001; with a new one nothing is missing."""
    stage.watch("event:expiry", username="erin", ttls_s=(4,))
    stage.emit("event:expiry", 1)
    stage.emit("task:expiry", 1, username="erin")
    stage.until(lambda client: client.closes != [])
    stage.emit("event:expiry", 2)
    stage.emit("task:expiry", 2, username="erin")
    stage.until(lambda client: client.connections > 1 and client.is_live)
    stage.emit("event:expiry", 3)
    stage.emit("task:expiry", 3, username="erin")

    def closed(client: Driver) -> None:
        assert client.closes == [4001]

    return both(exactly({"event:expiry": [1, 2, 3], "tasks": [1, 2, 3]}), closed)


def renewal(stage: Stage) -> Judge:
    """A token that is renewed in time ends nothing."""
    stage.watch("event:renewal", ttls_s=(7,))
    stage.emit("event:renewal", 1)
    expires_at = stage.tokens.expires_at
    wait_for(lambda: time.time() > expires_at + 1, "the first token has expired", 20)
    stage.emit("event:renewal", 2)

    def undisturbed(client: Driver) -> None:
        assert (client.closes, client.connections) == ([], 1)

    return both(exactly({"event:renewal": [1, 2]}), undisturbed)


def cut_network(stage: Stage) -> Judge:
    """A connection that is cut costs nothing."""
    proxy = stage.proxy()
    stage.watch("event:cut", "event:cut-*", username="frank", through=proxy)
    stage.emit("event:cut", *range(1, 10))
    stage.emit("notice:cut", 1, username="frank")
    stage.until_heard("event:cut", 9)
    proxy.is_refusing = True
    proxy.cut()
    stage.until(lambda client: not client.is_live)
    stage.emit("event:cut", *range(10, 20))
    stage.emit("event:cut-b", 100)
    stage.emit("notice:cut", 2, username="frank")
    proxy.is_refusing = False
    stage.until(lambda client: client.connections > 1 and client.is_live)
    stage.emit("event:cut", 20)
    stage.emit("notice:cut", 3, username="frank")
    expected = {"event:cut": list(range(1, 21)), "event:cut-*": [100], "addressed": [1, 2, 3]}
    return exactly(expected)


def killed_edge(stage: Stage) -> Judge:
    """`kill -9` of the edge costs nothing."""
    stage.watch("event:killed-*", username="grace")
    stage.emit("event:killed-a", *range(1, 10))
    stage.emit("task:killed", 1, username="grace")
    stage.until_heard("event:killed-*", 9)
    stage.until_heard("tasks", 1)
    stage.kill_edge()
    stage.emit("event:killed-b", *range(10, 20))
    stage.emit("task:killed", 2, username="grace")
    stage.restart_edge()
    stage.until(lambda client: client.connections > 1 and client.is_live)
    stage.emit("event:killed-a", 20)
    stage.emit("task:killed", 3, username="grace")
    return exactly({"event:killed-*": list(range(1, 21)), "tasks": [1, 2, 3]})


def killed_relay(stage: Stage) -> Judge:
    """`kill -9` of the relay costs nothing, and no second epoch begins."""
    stage.start_relay()
    stage.watch("event:*")
    stage.emit("event:a", *range(1, 50))
    stage.kill_relay()
    stage.emit("event:a", *range(50, 100))
    stage.start_relay()
    stage.emit("event:a", *range(100, 120))
    return exactly({"event:*": list(range(1, 120))})


def gap(stage: Stage) -> Judge:
    """Each event of the stream comes, or its offset is named as lost, never both."""
    stage.start_relay(RELAY_RETENTION_BYTES="65536", RELAY_HEARTBEAT_S="0.1")
    stage.watch("event:*")
    stage.emit("event:a", 1, 2, 3)
    stage.until_heard("event:*", 3)
    stage.kill_edge()
    stage.fill_beyond_retention()
    stage.restart_edge()
    stage.until(lambda client: client.connections > 1 and client.is_live)
    stage.emit("event:a", 4)

    def judge(client: Driver) -> None:
        wait_for(lambda: client.numbers("event:*")[-1:] == [4], "the last event", PATIENCE_S)
        losses = client.losses()
        assert losses[0].stream == "event"
        assert losses[0].first == 4
        lost = [n for each in losses for n in range(each.first, each.last + 1)]
        offsets = [each.offset or 0 for each in client.heard("event:*")]
        assert sorted(lost + offsets) == list(range(1, offsets[-1] + 1))
        assert offsets == sorted(offsets)

    return judge


def new_epoch(stage: Stage) -> Judge:
    """Another journal is told once, and its events follow."""
    stage.start_relay()
    stage.watch("event:*")
    stage.emit("event:a", 1, 2)
    stage.until_heard("event:*", 2)
    # What is not acknowledged yet goes to the next journal, too.
    stage.wait_acknowledged()
    stage.kill_relay()
    stage.start_relay(RELAY_DATA_DIR=str(stage.cluster.directory / "another journal"))
    stage.until(lambda client: NewEpoch() in client.told)
    stage.emit("event:a", 3, 4)

    def judge(client: Driver) -> None:
        wait_for(lambda: client.numbers("event:*")[-1:] == [4], "the last event", PATIENCE_S)
        assert client.numbers("event:*") == [1, 2, 3, 4]
        assert client.told.count(NewEpoch()) == 1
        assert client.losses() == []

    return judge


SCENARIOS = (
    Scenario(order),
    Scenario(overlap),
    Scenario(permission),
    Scenario(personal),
    Scenario(live_values),
    Scenario(expiry),
    Scenario(renewal, needs="renew"),
    Scenario(cut_network),
    Scenario(killed_edge),
    Scenario(killed_relay, has_own_relay=True),
    Scenario(gap, has_own_relay=True),
    Scenario(new_epoch, has_own_relay=True),
)
