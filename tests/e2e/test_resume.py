"""A client that was away gets the missed events once and in order (protocol section 7)."""

import json
import re
import signal
import urllib.request
from typing import Any

import pytest
from websockets.exceptions import InvalidStatus

from emitters import Emitter
from tests.e2e.journaled import Start
from tests.support.clients import Client, Message
from tests.support.cluster import Cluster, Edge
from tests.support.processes import run_cli
from tests.support.waiting import wait_for

RECOVERY_S = 10.0


def events(messages: list[Message]) -> list[Message]:
    """Return the numbers in the events of `messages`, without replies and retained states."""
    return [each for each in messages if "offset" in each and "retained" not in each]


def numbers(messages: list[Message]) -> list[int]:
    return [each["data"]["n"] for each in events(messages)]


def resume(client: Client, topic: str, since: dict[str, int], epoch: int, **more: Any) -> Message:
    """Subscribe from the position `since`; return the reply, which follows the missed events."""
    request = {"action": "subscribe", "topic": topic, "since": since, "epoch": epoch}
    return client.ask(request | more)


def emit(emitter: Emitter, numbers: range, topic: str = "event:a", **options: Any) -> None:
    for number in numbers:
        emitter.emit(topic, {"n": number}, **options)


def flush(emitter: Emitter) -> None:
    """Wait until the relay has acknowledged all events."""

    def everything() -> bool:
        counters = emitter.counters()
        return counters["accepted"] == counters["acknowledged"]

    wait_for(everything, "the relay has everything", RECOVERY_S)


def arrived(cluster: Cluster, edge: Edge, position: int, stream: str = "event") -> int:
    """Wait until `edge` is at `position` of a stream; return the epoch."""
    watcher = cluster.connect(edge, "root", "admin")
    reply: Message = {}

    def is_there() -> bool:
        nonlocal reply
        reply = watcher.subscribe(f"{stream}:nothing")
        return bool(reply["position"][stream] >= position)

    wait_for(is_there, f"the edge has {stream} {position}")
    watcher.close()
    return int(reply["epoch"])


def test_what_was_missed_comes_before_the_reply_and_then_live(cluster: Cluster, edge: Edge) -> None:
    emitter = cluster.emitter()
    emit(emitter, range(1, 101))
    epoch = arrived(cluster, edge, 100)
    client = cluster.connect(edge, "alice")
    reply = resume(client, "event:*", {"event": 40}, epoch, id="x")
    assert reply == {
        "status": "success",
        "message": "Subscribed to topic 'event:*'",
        "action": "subscribe",
        "topic": "event:*",
        "epoch": epoch,
        "position": {"event": 100},
        "recovered": True,
        "id": "x",
    }
    assert numbers(client.received) == list(range(41, 101))
    emit(emitter, range(101, 111))
    client.receive_until(lambda each: each.get("offset") == 110, "the last event")
    assert numbers(client.received) == list(range(41, 111))


def test_an_edge_that_began_later_replays_from_the_journal(cluster: Cluster) -> None:
    cluster.start_relay()
    emitter = cluster.emitter()
    emit(emitter, range(1, 1501))
    flush(emitter)
    edge = cluster.start_edge()
    epoch = arrived(cluster, edge, 1500)
    clients = [cluster.connect(edge, "alice") for _ in range(5)]
    for client in clients:
        client.send(
            {"action": "subscribe", "topic": "event:a", "since": {"event": 3}, "epoch": epoch}
        )
    emit(emitter, range(1501, 1601))
    for client in clients:
        client.receive_until(lambda each: each.get("offset") == 1600, "the last event")
        assert numbers(client.received) == list(range(4, 1601))


def test_the_newest_events_that_match(cluster: Cluster, edge: Edge) -> None:
    emitter = cluster.emitter()
    for number in range(1, 601):
        emitter.emit("event:rare" if number % 100 == 0 else "event:often", {"n": number})
    arrived(cluster, edge, 600)
    client = cluster.connect(edge, "alice")
    reply = client.ask({"action": "subscribe", "topic": "event:rare", "last": 4})
    assert reply["recovered"] is True
    assert numbers(client.received) == [300, 400, 500, 600]
    reply = client.ask({"action": "subscribe", "topic": "event:often", "last": 3})
    assert numbers(client.received)[4:] == [597, 598, 599]
    assert client.ask({"action": "subscribe", "topic": "event:none", "last": 1000})["recovered"]
    assert len(numbers(client.received)) == 7


def test_last_after_a_restart_of_the_edge_searches_the_journal(cluster: Cluster) -> None:
    cluster.start_relay()
    emitter = cluster.emitter()
    for number in range(1, 701):
        emitter.emit("event:rare" if number % 100 == 0 else "event:often", {"n": number})
    flush(emitter)
    edge = cluster.start_edge()
    client = cluster.connect(edge, "alice")
    assert client.ask({"action": "subscribe", "topic": "event:rare", "last": 5})["recovered"]
    assert numbers(client.received) == [300, 400, 500, 600, 700]


def test_several_subscriptions_are_caught_up_together_in_stream_order(
    cluster: Cluster, edge: Edge
) -> None:
    emitter = cluster.emitter()
    topics = ["event:a", "event:b", "event:c"]
    for number in range(1, 301):
        emitter.emit(topics[number % 3], {"n": number})
    epoch = arrived(cluster, edge, 300)
    client = cluster.connect(edge, "alice")
    for number, (topic, more) in enumerate([("event:a", True), ("event:b", True), ("event:*", 0)]):
        since = {"event": 100 + number}
        request = {"action": "subscribe", "topic": topic, "since": since, "epoch": epoch}
        client.send(request | {"id": number} | ({"more": True} if more else {}))
    client.receive_until(lambda each: each.get("id") == 2, "the last reply")
    replies = client.received[-3:]
    assert [(each["id"], each["recovered"]) for each in replies] == [
        (0, True),
        (1, True),
        (2, True),
    ]
    # 101 and 102 are event:c; `event:*` begins behind 102.
    expected = [n for n in range(101, 301) if n > 102 or topics[n % 3] == "event:a"]
    assert numbers(client.received) == expected


def test_another_epoch_is_not_recovered(cluster: Cluster, edge: Edge) -> None:
    emitter = cluster.emitter()
    emit(emitter, range(1, 11))
    epoch = arrived(cluster, edge, 10)
    client = cluster.connect(edge, "alice")
    reply = resume(client, "event:*", {"event": 2}, epoch - 1)
    assert (reply["recovered"], reply["position"], reply["epoch"]) == (False, {"event": 10}, epoch)
    emit(emitter, range(11, 12))
    client.receive_on("event:a")
    assert numbers(client.received) == [11]


def test_a_client_that_is_being_caught_up_hears_that_the_edge_is_there(cluster: Cluster) -> None:
    relay = cluster.start_relay()
    emitter = cluster.emitter()
    emit(emitter, range(1, 11))
    flush(emitter)
    edge = cluster.start_edge(EDGE_POSITION_INTERVAL_S="0.1", EDGE_RELAY_TIMEOUT_S="30")
    epoch = arrived(cluster, edge, 10)
    client = cluster.connect(edge, "alice")
    relay.signal(signal.SIGSTOP)
    client.send({"action": "subscribe", "topic": "event:*", "since": {"event": 3}, "epoch": epoch})
    nowhere = {"type": "position", "epoch": epoch, "position": {}}
    client.receive_until(lambda message: message == nowhere, "a sign of life")
    relay.signal(signal.SIGCONT)
    client.receive_until(lambda message: "status" in message, "the reply")
    assert numbers(client.received) == list(range(4, 11))


def test_a_client_that_was_ahead_of_this_edge_is_sent_away_and_gets_nothing_twice(
    cluster: Cluster, edge: Edge
) -> None:
    emitter = cluster.emitter()
    emit(emitter, range(1, 11))
    epoch = arrived(cluster, edge, 10)
    client = cluster.connect(edge, "alice")
    client.send({"action": "subscribe", "topic": "event:*", "since": {"event": 99}, "epoch": epoch})
    emit(emitter, range(11, 21))
    assert client.wait_closed() == (4013, "this edge is behind your position, retry in 1 s")
    assert [each for each in client.received if "position" not in each.get("type", "")] == []


def test_what_the_journal_no_longer_has_is_named(cluster: Cluster) -> None:
    cluster.start_relay(RELAY_RETENTION_BYTES="65536", RELAY_HEARTBEAT_S="0.1")
    emitter = cluster.emitter()
    for number in range(1, 401):
        emitter.emit("event:a", {"n": number, "ballast": "x" * 1000})
    flush(emitter)
    # More events until old ones are retired.
    edge = cluster.start_edge()
    epoch = arrived(cluster, edge, 400)

    def low() -> int:
        client = cluster.connect(edge, "alice")
        resume(client, "event:*", {"event": 0}, epoch)
        first = client.received[1]
        client.close()
        return int(first["to"]) + 1 if first.get("type") == "gap" else 0

    wait_for(low, "old events are retired", RECOVERY_S)
    client = cluster.connect(edge, "alice")
    reply = resume(client, "event:*", {"event": 5}, epoch)
    assert reply["recovered"] is False
    gap = next(each for each in client.received if each.get("type") == "gap")
    assert gap == {
        "type": "gap",
        "stream": "event",
        "from": 6,
        "to": gap["to"],
        "reason": "retention",
    }
    assert numbers(client.received) == list(range(gap["to"] + 1, 401))


def test_permission_is_checked_again_at_replay(
    cluster: Cluster, edge: Edge, emitters: Start
) -> None:
    """Events for one user may be in the stream of their kind: earlier versions put them there."""
    emitter = emitters()
    emitter.admitted()
    for number in range(1, 31):
        user = (None, "alice", "bob")[number % 3]
        emitter.send([2 * number - 1], "event:a", n=number, username=user)
        emitter.send([2 * number], "task:1", n=number, username=user or "root")
    epoch = arrived(cluster, edge, 30)
    arrived(cluster, edge, 30, "task")
    alice = cluster.connect(edge, "alice")
    resume(alice, "event:*", {"event": 0, "task": 0}, epoch)
    assert numbers(alice.received) == [n for n in range(1, 31) if n % 3 != 2]
    admin = cluster.connect(edge, "root", "admin")
    resume(admin, "*", {"event": 0, "task": 0}, epoch)
    assert numbers(admin.received) == [n for n in range(1, 31) if n % 3 == 0]


def test_events_for_one_user_are_replayed_to_that_user_alone(cluster: Cluster, edge: Edge) -> None:
    emitter = cluster.emitter()
    for number in range(1, 31):
        user = (None, "alice", "bob")[number % 3]
        emitter.emit("event:a", {"n": number}, username=user)
    emitter.emit("event:a", {"n": 31}, username="root")
    epoch = arrived(cluster, edge, 10)
    for_all = [n for n in range(1, 31) if n % 3 == 0]
    since = {"event": 0, "task": 0, "addressed": 0}
    for user, role, own in (("alice", "user", range(1, 31, 3)), ("root", "admin", [31])):
        token = cluster.token(user, role)
        query = f"token={token}&epoch={epoch}&task=0&addressed=0"
        client = Client(f"ws://127.0.0.1:{edge.port}/ws?{query}")
        client.receive_until(lambda each, n=own[-1]: each.get("data") == {"n": n}, "the last one")  # type: ignore[misc]
        assert resume(client, "*", since, epoch)["recovered"] is True
        streams: dict[str, list[int]] = {}
        for each in events(client.received):
            streams.setdefault(each.get("stream", "event"), []).append(each["data"]["n"])
        assert streams == {"addressed": list(own), "event": for_all}
        client.close()


class TestTasks:
    """Tasks need no subscription: the handshake's URL has the client's position."""

    def connect(self, cluster: Cluster, edge: Edge, query: str, user: str = "alice") -> Client:
        url = f"ws://127.0.0.1:{edge.port}/ws?token={cluster.token(user)}{query}"
        return Client(url)

    def test_missed_updates_come_instead_of_the_state(self, cluster: Cluster, edge: Edge) -> None:
        emitter = cluster.emitter()
        for number in range(1, 41):
            user = "alice" if number % 2 else "bob"
            emitter.emit(f"task:{number % 4}", {"n": number}, username=user)
        epoch = arrived(cluster, edge, 40, "task")
        client = self.connect(cluster, edge, f"&epoch={epoch}&task=20")
        client.receive_until(lambda each: each.get("offset") == 39, "what was missed")
        emitter.emit("task:1", {"n": 41}, username="alice")
        client.receive_until(lambda each: each.get("offset") == 41, "what came then")
        assert numbers(client.received) == list(range(21, 42, 2))
        assert not [each for each in client.received if "retained" in each]
        client.close()

    def test_with_another_epoch_the_state_is_shown(self, cluster: Cluster, edge: Edge) -> None:
        emitter = cluster.emitter()
        emit(emitter, range(1, 4), "task:1", username="alice")
        epoch = arrived(cluster, edge, 3, "task")
        for query in ("", f"&epoch={epoch + 1}&task=1"):
            client = self.connect(cluster, edge, query)
            if query:
                assert client.receive() == {"type": "position", "epoch": epoch, "position": {}}
            shown, position = client.receive(), client.receive()
            assert (shown["data"], shown["retained"], shown["offset"]) == ({"n": 3}, True, 3)
            heads = {"addressed": 0, "task": 3}
            assert position == {"type": "position", "epoch": epoch, "position": heads}
            client.close()

    @pytest.mark.parametrize(
        ("query", "detail"),
        [
            ("&task=1", "task and addressed need the epoch."),
            ("&epoch=1&task=x", "epoch, task and addressed must be numbers."),
            ("&epoch=-1&task=1", "epoch, task and addressed must be numbers."),
            (f"&epoch=1&task={2**64}", "epoch, task and addressed must be numbers."),
        ],
    )
    def test_a_position_that_makes_no_sense_is_refused(
        self, cluster: Cluster, edge: Edge, query: str, detail: str
    ) -> None:
        with pytest.raises(InvalidStatus) as refused:
            self.connect(cluster, edge, query)
        assert refused.value.response.status_code == 400
        assert refused.value.response.body == f'{{"detail":"{detail}"}}'.encode()


class TestRestarts:
    """A killed or stopped process loses no event and repeats none."""

    def test_a_killed_edge(self, cluster: Cluster, edge: Edge) -> None:
        emitter = cluster.emitter()
        client = cluster.connect(edge, "alice")
        epoch = client.subscribe("event:*")["epoch"]
        emit(emitter, range(1, 11))
        client.receive_until(lambda each: each.get("offset") == 10, "the events")
        edge.process.kill()
        emit(emitter, range(11, 21))
        edge = cluster.start_edge(port=edge.port)
        emit(emitter, range(21, 31))
        again = cluster.connect(edge, "alice")
        assert resume(again, "event:*", {"event": 10}, epoch)["recovered"] is True
        emit(emitter, range(31, 41))
        again.receive_until(lambda each: each.get("offset") == 40, "the last event")
        assert numbers(again.received) == list(range(11, 41))

    def test_a_killed_relay(self, cluster: Cluster) -> None:
        relay = cluster.start_relay()
        edge = cluster.start_edge(EDGE_RELAY_TIMEOUT_S="30")
        emitter = cluster.emitter()
        client = cluster.connect(edge, "alice")
        epoch = client.subscribe("event:*")["epoch"]
        emit(emitter, range(1, 1001))
        relay.kill()
        emit(emitter, range(1001, 1101))
        cluster.start_relay()
        emit(emitter, range(1101, 1201))
        client.receive_until(lambda each: each.get("offset") == 1200, "the last event", 20)
        assert numbers(client.received) == list(range(1, 1201))
        assert client.subscribe("event:b")["epoch"] == epoch

    @pytest.mark.parametrize(("hwm", "is_repaired"), [("100000", False), ("50", True)])
    def test_a_slow_edge_catches_up(self, cluster: Cluster, hwm: str, is_repaired: bool) -> None:
        """Above its high-water mark the relay drops what is for that edge, which asks for it."""
        cluster.start_relay(RELAY_EGRESS_HWM=hwm)
        # The 16 MB come at once: a client that reads more slowly than they do is not at issue.
        edge = cluster.start_edge(EDGE_MAX_QUEUED_BYTES=str(64 * 1024 * 1024))
        emitter = cluster.emitter()
        client = cluster.connect(edge, "alice")
        client.subscribe("event:*")
        edge.process.signal(signal.SIGSTOP)
        for number in range(1, 4001):
            emitter.emit("event:a", {"n": number, "ballast": "x" * 4000})
        flush(emitter)
        edge.process.signal(signal.SIGCONT)
        client.receive_until(lambda each: each.get("offset") == 4000, "the last event", 30)
        assert numbers(client.received) == list(range(1, 4001))
        assert (replay_requests(cluster) > 0) is is_repaired
        check_accounts(edge)

    def test_an_edge_survives_a_relay_that_is_killed_while_it_reads_a_backlog(
        self, cluster: Cluster
    ) -> None:
        relay = cluster.start_relay()
        edge = cluster.start_edge(EDGE_RELAY_TIMEOUT_S="30")
        emitter = cluster.emitter()
        client = cluster.connect(edge, "alice")
        client.subscribe("event:b")
        for round_ in range(1, 4):
            edge.process.signal(signal.SIGSTOP)
            emit(emitter, range(20_000))
            flush(emitter)
            relay.kill()
            edge.process.signal(signal.SIGCONT)
            relay = cluster.start_relay()
            emitter.emit("event:b", {"n": round_})
            client.receive_until(lambda each: "offset" in each, "an event behind the backlog", 30)
        assert numbers(client.received) == [1, 2, 3]
        assert edge.process.returncode is None, edge.process.output()


def test_a_client_that_reads_slowly_is_not_closed_for_what_it_missed(cluster: Cluster) -> None:
    """It is caught up at its own speed; only live events queue up for it."""
    cluster.start_relay()
    edge = cluster.start_edge(EDGE_MAX_QUEUED_BYTES="65536", EDGE_HISTORY_BYTES="1048576")
    emitter = cluster.emitter()
    for number in range(1, 3001):
        emitter.emit("event:a", {"n": number, "ballast": "x" * 5000})
    epoch = arrived(cluster, edge, 3000)
    slow = cluster.connect(edge, "alice")
    slow.send({"action": "subscribe", "topic": "event:*", "since": {"event": 0}, "epoch": epoch})
    other = cluster.connect(edge, "bob")
    other.subscribe("event:b")
    emit(emitter, range(3001, 3011), "event:b")
    other.receive_until(lambda each: each.get("offset") == 3010, "others are served meanwhile")
    slow.receive_until(lambda each: each.get("action") == "subscribe", "the reply", 30)
    assert numbers(slow.received) == list(range(1, 3011))
    slow.close()
    other.close()
    check_accounts(edge)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"since": 5, "epoch": 1}, "since must map streams to offsets."),
        ({"since": {"event": -1}, "epoch": 1}, "since must map streams to offsets."),
        ({"since": {"event": 1}}, "since needs the epoch."),
        ({"last": 0}, "last must be a number from 1 to 1000."),
        ({"last": 5, "since": {"event": 1}, "epoch": 1}, "since and last exclude each other."),
    ],
)
def test_a_past_that_makes_no_sense_is_refused(
    cluster: Cluster, edge: Edge, more: dict[str, Any], message: str
) -> None:
    client = cluster.connect(edge, "alice")
    reply = client.ask({"action": "subscribe", "topic": "event:a", "id": 1} | more)
    assert reply == {"status": "error", "message": message, "code": "bad_request", "id": 1}


def replay_requests(cluster: Cluster) -> int:
    """Return the number of replay requests that the relay received."""
    answer = run_cli("relay", "stats", env=cluster.env)
    assert answer.returncode == 0, answer.stderr
    return int(json.loads(answer.stdout)["control_requests"].get("replay", 0))


def metrics(edge: Edge) -> dict[str, float]:
    """Return each metric of an edge with one worker, summed over its labels."""
    with urllib.request.urlopen(f"{edge.url}/metrics", timeout=5) as response:
        text = response.read().decode()
    found: dict[str, float] = {}
    for name, value in re.findall(r"^edge_(\w+?)(?:_total)?\{.*\} (\S+)$", text, re.MULTILINE):
        found[name] = found.get(name, 0.0) + float(value)
    return found


def check_accounts(edge: Edge) -> None:
    """The counters of received and of sent messages add up (protocol section 9)."""
    found = metrics(edge)
    assert found.get("events_received", 0) == sum(
        found.get(name, 0)
        for name in (
            "events_forwarded",
            "events_filtered",
            "repeated",
            "out_of_order",
            "malformed",
            "held",
        )
    )
    assert found["deliveries"] + found["messages_sent"] == sum(
        found[name] for name in ("written", "slow_consumer", "disconnected", "conflated", "waiting")
    )
