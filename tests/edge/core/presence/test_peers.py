"""`Peers`: the members of other workers, whatever is lost, late or sent twice."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.core.presence import peers as peers_module
from edge.core.presence.members import OwnMembers
from edge.core.presence.peers import BEAT_S, MISSING_AFTER_S, Peers
from edge.core.presence.values import Seat, StateName, beat_value, bucket_value
from edge.core.presence.view import PresenceView
from relay.wire.errors import InvalidEnvelope

ANN = {("room:5", "ann"): Seat(1, 1)}
BOB = {("room:5", "bob"): Seat(1, 1)}


class Listener:
    """A worker that hears the others."""

    def __init__(self, name: str = "me") -> None:
        self.view = PresenceView(0.0)
        self.peers = Peers(name, self.view)

    def users(self, topic: str = "room:5") -> list[str]:
        for _ in range(2):
            self.view.take_changes(0.0)
        return [each.username for each in self.view.users(topic)]


def test_a_worker_brings_its_members_and_takes_them_along() -> None:
    me = Listener()
    me.peers.take("other:3", bucket_value(1, ANN | BOB), 0.0, is_live=True)
    assert me.users() == ["ann", "bob"]
    me.peers.take("other:3", bucket_value(2, BOB), 0.0, is_live=True)
    assert me.users() == ["bob"]
    me.peers.take("other", beat_value({3: 2}), 1.0, is_live=True)
    me.peers.expire(1.0 + MISSING_AFTER_S - 0.01)
    assert me.users() == ["bob"]
    me.peers.expire(1.0 + MISSING_AFTER_S)
    assert (me.users(), len(me.peers)) == ([], 0)


def test_a_worker_that_stops_is_gone_at_once() -> None:
    me = Listener()
    me.peers.take("other:3", bucket_value(1, ANN), 0.0, is_live=True)
    me.peers.take("other", beat_value(None), 0.1, is_live=True)
    assert me.users() == []
    me.peers.take("other", beat_value(None), 0.1, is_live=True)


def test_nobody_is_gone_who_cannot_be_heard() -> None:
    me = Listener()
    me.peers.take("other:3", bucket_value(1, ANN), 0.0, is_live=True)
    me.peers.forgive(50.0)
    me.peers.take("other", beat_value({3: 1}), 2.0, is_live=True)
    me.peers.expire(49.0)
    assert me.users() == ["ann"]
    me.peers.expire(50.0)
    assert me.users() == []


def test_retained_values_are_of_workers_that_are_heard() -> None:
    me = Listener()
    me.peers.take("dead", beat_value({3: 1}), 0.0, is_live=False)
    me.peers.take("dead:3", bucket_value(1, ANN), 0.0, is_live=False)
    assert (me.users(), len(me.peers)) == ([], 0)
    me.peers.take("other", beat_value({3: 4}), 0.0, is_live=True)
    assert me.peers.take_lacking() == ["other"], "at once: it is new here"
    me.peers.take("other:3", bucket_value(4, BOB), 0.0, is_live=False)
    assert me.users() == ["bob"]
    me.peers.take("other:3", bucket_value(3, ANN), 0.0, is_live=False)
    me.peers.take("other:3", bucket_value(4, ANN), 0.0, is_live=True)
    assert me.users() == ["bob"], "an older value, or the same again, changes nothing"


def test_a_lost_bucket_is_requested_when_it_lacks_at_two_beats() -> None:
    me = Listener()
    me.peers.take("other:3", bucket_value(1, ANN), 0.0, is_live=True)
    me.peers.take("other", beat_value({3: 1}), 0.0, is_live=True)
    assert me.peers.take_lacking() == []
    wanted = []
    for beat in range(1, 6):
        me.peers.take("other", beat_value({3: 2}), beat * BEAT_S, is_live=True)
        wanted.append(me.peers.take_lacking())
    assert wanted == [[], ["other"], [], ["other"], []]
    me.peers.take("other", beat_value({}), 6 * BEAT_S, is_live=True)
    assert me.users() == [], "a lost end of all members is told by the beat"


def test_its_own_values_and_wrong_ones_change_nothing() -> None:
    me = Listener()
    me.peers.take("me:3", bucket_value(1, ANN), 0.0, is_live=True)
    me.peers.take("me", beat_value(None), 0.0, is_live=True)
    for name, value in (("other:99", {}), ("other:1", {}), ("other", {"versions": 3})):
        with pytest.raises(InvalidEnvelope):
            me.peers.take(name, value, 0.0, is_live=True)
    assert (me.users(), len(me.peers)) == ([], 0)


def test_too_many_workers_and_seats_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers_module, "MAX_PEERS", 2)
    monkeypatch.setattr(peers_module, "MAX_SEATS", 2)
    me = Listener()
    me.peers.take("a:1", bucket_value(1, ANN), 0.0, is_live=True)
    me.peers.take("b:1", bucket_value(1, ANN | BOB), 0.0, is_live=True)
    me.peers.take("c:1", bucket_value(1, BOB), 0.0, is_live=True)
    assert (me.users(), len(me.peers), me.peers.left_out) == (["ann"], 2, 3)
    me.peers.take("a", beat_value(None), 0.0, is_live=True)
    me.peers.take("b:1", bucket_value(2, ANN | BOB), 0.0, is_live=True)
    assert me.users() == ["ann", "bob"]


class Network:
    """A relay that retains values, loses some on the way, and workers that come and go."""

    def __init__(self) -> None:
        self.now = 0.0
        self.retained: dict[str, Any] = {}
        self.members: dict[str, OwnMembers] = {}
        self.listeners: dict[str, Listener] = {}
        self.there: dict[tuple[str, str, str], int] = {}

    def start(self, name: str) -> None:
        listener = self.listeners[name] = Listener(name)
        self.members[name] = OwnMembers(name, listener.view)

    def kill(self, name: str) -> None:
        del self.listeners[name], self.members[name]
        self.there = {key: count for key, count in self.there.items() if key[0] != name}

    def publish(self, name: StateName, value: Any, lost: set[str]) -> None:
        self.retained[str(name)] = value
        for listener, each in self.listeners.items():
            if listener not in lost:
                each.peers.take(str(name), value, self.now, is_live=True)

    def pass_time(self, lost: set[str]) -> None:
        """A second passes: everybody publishes, beats, and asks for what lacks."""
        self.now += BEAT_S
        for name, members in self.members.items():
            for number, version, seats in members.take_changed():
                self.publish(StateName(name, number), bucket_value(version, seats), lost)
            self.publish(StateName(name, None), beat_value(members.versions), lost)
        for listener in self.listeners.values():
            listener.peers.expire(self.now)
            for worker in listener.peers.take_lacking():
                for topic, value in self.retained.items():
                    if topic.startswith(f"{worker}:"):
                        listener.peers.take(topic, value, self.now, is_live=False)


workers = st.sampled_from(["w1", "w2", "w3"])
events = st.one_of(
    st.tuples(st.just("join"), workers, st.sampled_from(["ann", "bob", "cat", "dan"])),
    st.tuples(st.just("leave"), workers, st.sampled_from(["ann", "bob", "cat", "dan"])),
    st.tuples(st.just("kill"), workers, st.just("")),
    st.tuples(st.just("wait"), workers, st.sampled_from(["", "lost"])),
)


@settings(max_examples=200)
@given(st.lists(events, max_size=40))
def test_all_workers_agree_in_the_end(events: list[tuple[str, str, str]]) -> None:
    """Worker `w3` restarts under the same name, as if another process had taken its place."""
    network = Network()
    for name in ("w1", "w2", "w3"):
        network.start(name)
    generation = 0
    alias = {name: name for name in network.listeners}
    for what, name, detail in events:
        worker = alias[name]
        key = worker, "room:5", detail
        if what == "join":
            network.members[worker].join("room:5", detail, 1)
            network.there[key] = network.there.get(key, 0) + 1
        elif what == "leave" and network.there.get(key):
            network.members[worker].leave("room:5", detail)
            network.there[key] -= 1
        elif what == "kill":
            network.kill(worker)
            generation += 1
            alias[name] = f"{name}-{generation}"
            network.start(alias[name])
        elif what == "wait":
            network.pass_time({worker} if detail else set())
    for _ in range(8):
        network.pass_time(set())
    expected = sorted({username for (_, _, username), count in network.there.items() if count})
    for listener in network.listeners.values():
        assert listener.users() == expected
        assert listener.view.count("room:5").connections == sum(network.there.values())
