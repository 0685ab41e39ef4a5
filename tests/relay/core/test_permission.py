"""A peer connects, asks, publishes and answers as its table says, for its own emitters alone."""

import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.core.permission import (
    MAX_CACHED_IDS,
    UNLIMITED,
    PeerIdentity,
    PeerList,
    Rights,
)
from relay.wire.control import Request
from relay.wire.header import EMITTER_ID_BYTES
from relay.wire.peers import ListedPeer, PeerRole

ALL = {request.model_fields["op"].default for request in get_args(Request)}
KEY, OTHER_KEY = bytes(range(32)), bytes(32)
ID = bytes(range(16))
OWN_ID = "d71c240ed7160014363ef66b8b5a5907"
emitter_ids = st.binary(min_size=EMITTER_ID_BYTES, max_size=EMITTER_ID_BYTES)
names = st.text("abc-1", min_size=1, max_size=8)


def rights(role: PeerRole, name: str = "a", **given: tuple[str, ...]) -> Rights:
    peers = PeerList.of([ListedPeer(name, role, KEY, **given)])  # type: ignore[arg-type]
    found = peers.rights_of(PeerIdentity(KEY))
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("role", "operations"),
    [
        (PeerRole.EMITTER, {"hello", "account", "watched", "serve", "result"}),
        (PeerRole.EDGE, ALL - {"stats"}),
        (PeerRole.TOOL, {"hello", "replay", "retained", "stats", "watched"}),
    ],
)
def test_each_role_asks_for_what_it_needs_and_nothing_else(
    role: PeerRole, operations: set[str]
) -> None:
    assert {each for each in ALL if rights(role).may_ask(each)} == operations
    assert not rights(role).may_ask("reboot")
    assert all(map(UNLIMITED.may_ask, ALL))


@pytest.mark.parametrize(
    ("role", "may_be"),
    [
        (PeerRole.EMITTER, {"emitter"}),
        (PeerRole.EDGE, {"edge", "emitter"}),
        (PeerRole.TOOL, {"tool"}),
    ],
)
def test_a_peer_says_hello_as_what_it_is(role: PeerRole, may_be: set[str]) -> None:
    """An edge publishes as well, and so is an emitter too."""
    assert {each for each in PeerRole if rights(role).may_be(each)} == may_be
    assert all(map(UNLIMITED.may_be, PeerRole))


def test_emitters_do_not_subscribe() -> None:
    assert [role for role in PeerRole if rights(role).may_subscribe] == ["edge", "tool"]
    assert UNLIMITED.may_subscribe


def test_those_who_may_publish_something_reach_the_ingress() -> None:
    assert not rights(PeerRole.EMITTER).may_publish
    assert not rights(PeerRole.TOOL).may_publish
    assert rights(PeerRole.EMITTER, publish=("event:a",)).may_publish
    assert rights(PeerRole.EDGE, publish=("*",)).may_publish
    assert UNLIMITED.may_publish


def test_an_edge_for_which_nobody_publishes_still_talks_to_the_other_edges() -> None:
    assert rights(PeerRole.EDGE, publish=()).may_publish


def test_methods_are_answered_by_those_who_may() -> None:
    own = rights(PeerRole.EMITTER, methods=("restart", "backup.*"))
    assert own.methods.match("restart")
    assert own.methods.match("backup.now")
    assert not own.methods.match("restart_all")
    assert not rights(PeerRole.EMITTER).methods.match("restart"), "denied by default"
    assert UNLIMITED.methods.match("restart")


def test_rights_to_publish_are_those_of_the_table() -> None:
    own = rights(PeerRole.EDGE, publish=("event:*",), sources=("a",), users=("alice",))
    assert own.publishing is not None
    assert own.publishing.is_edge
    assert own.publishing.topics.texts == ("event:*",)
    assert own.publishing.sources.texts == ("a",)
    assert own.publishing.users.texts == ("alice",)
    assert UNLIMITED.publishing is None


@given(emitter_ids, names, names)
def test_two_peers_with_one_emitter_id_are_two_emitters(
    emitter_id: bytes, name: str, other: str
) -> None:
    own = rights(PeerRole.EMITTER, name).own_id(emitter_id)
    theirs = rights(PeerRole.EMITTER, other).own_id(emitter_id)
    assert (own == theirs) is (name == other)
    assert len(own) == EMITTER_ID_BYTES
    assert own != emitter_id, "nor is it that of a peer without a name"


@given(emitter_ids, emitter_ids)
def test_two_emitters_of_one_peer_are_two(first: bytes, second: bytes) -> None:
    peer = rights(PeerRole.EMITTER)
    assert (peer.own_id(first) == peer.own_id(second)) is (first == second)


@given(emitter_ids)
def test_a_peer_cannot_name_the_own_id_of_another(emitter_id: bytes) -> None:
    """By giving as its id what the relay calls the other's emitter."""
    victim, thief = (rights(PeerRole.EMITTER, name) for name in ("victim", "thief"))
    assert thief.own_id(victim.own_id(emitter_id)) != victim.own_id(emitter_id)


def test_the_own_id_of_an_emitter_is_the_same_in_each_process() -> None:
    """The journal has it."""
    code = (
        "from relay.core.permission import Rights; from relay.wire.peers import PeerRole;"
        f"print(Rights('manager-1', PeerRole.EMITTER).own_id({ID!r}).hex())"
    )
    root = Path(__file__).parents[3]
    found = {
        subprocess.run(
            [sys.executable, "-c", code],
            cwd=root,
            env={"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        for seed in ("1", "2")
    }
    assert found == {rights(PeerRole.EMITTER, "manager-1").own_id(ID).hex()} == {OWN_ID}


def test_the_ids_in_memory_are_bounded_and_stay_right() -> None:
    peer = rights(PeerRole.EMITTER)
    ids = [number.to_bytes(16, "big") for number in range(2 * MAX_CACHED_IDS + 1)]
    first = [peer.own_id(each) for each in ids]
    assert len(peer._ids) <= MAX_CACHED_IDS
    assert [peer.own_id(each) for each in ids] == first


def test_without_rights_an_id_is_that_of_the_emitter() -> None:
    assert UNLIMITED.own_id(ID) == ID


class TestPeerList:
    """From the proof of an identity to the rights."""

    def test_without_a_list_everybody_is_unlimited_but_no_key_is_known(self) -> None:
        peers = PeerList.of([], KEY, 1000)
        for identity in (PeerIdentity(), PeerIdentity(uid=7, gid=7), PeerIdentity(uid=1000)):
            assert peers.rights_of(identity) is UNLIMITED
        assert peers.rights_of(PeerIdentity(OTHER_KEY)) is None
        itself = peers.rights_of(PeerIdentity(KEY))
        assert itself is not None
        assert itself.role is PeerRole.TOOL

    def test_with_a_list_nobody_else_gets_in(self) -> None:
        peers = PeerList.of(
            [
                ListedPeer("key", PeerRole.EDGE, KEY),
                ListedPeer("user", PeerRole.EDGE, uid=7),
                ListedPeer("group", PeerRole.EDGE, gid=8),
            ]
        )
        for identity, name in (
            (PeerIdentity(KEY), "key"),
            (PeerIdentity(uid=7, gid=8), "user"),
            (PeerIdentity(uid=7, gid=1), "user"),
            (PeerIdentity(uid=1, gid=8), "group"),
        ):
            found = peers.rights_of(identity)
            assert found is not None
            assert found.name == name
        for identity in (
            PeerIdentity(OTHER_KEY),
            PeerIdentity(OTHER_KEY, 7, 8),
            PeerIdentity(uid=1, gid=1),
            PeerIdentity(uid=8, gid=7),
            PeerIdentity(uid=0, gid=0),
            PeerIdentity(is_loopback=True),
            PeerIdentity(),
        ):
            assert peers.rights_of(identity) is None

    def test_loopback_counts_for_peers_of_this_machine_alone(self) -> None:
        peers = PeerList.of([ListedPeer("local", PeerRole.EDGE, loopback=True)])
        found = peers.rights_of(PeerIdentity(is_loopback=True))
        assert found is not None
        assert found.name == "local"
        for identity in (PeerIdentity(), PeerIdentity(uid=7, gid=7), PeerIdentity(OTHER_KEY)):
            assert peers.rights_of(identity) is None

    def test_the_relays_own_key_and_user_may_be_listed_as_another_role(self) -> None:
        peers = PeerList.of(
            [
                ListedPeer("edge-1", PeerRole.EDGE, KEY),
                ListedPeer("edge-2", PeerRole.EDGE, uid=1000),
            ],
            KEY,
            1000,
        )
        for identity in (PeerIdentity(KEY), PeerIdentity(uid=1000)):
            found = peers.rights_of(identity)
            assert found is not None
            assert found.role is PeerRole.EDGE

    def test_the_relays_own_user_may_look(self) -> None:
        peers = PeerList.of([ListedPeer("edge-1", PeerRole.EDGE, KEY)], OTHER_KEY, 1000)
        for identity in (PeerIdentity(OTHER_KEY), PeerIdentity(uid=1000)):
            found = peers.rights_of(identity)
            assert found is not None
            assert (found.role, found.may_publish) == (PeerRole.TOOL, False)

    def test_an_emitter_of_the_name_relay_is_not_the_relay(self) -> None:
        listed = ListedPeer("relay", PeerRole.EMITTER, KEY, publish=("*",))
        found = PeerList.of([listed], OTHER_KEY).rights_of(PeerIdentity(KEY))
        assert found is not None
        assert (found.role, found.may_subscribe) == (PeerRole.EMITTER, False)

    def test_a_list_may_become_another_in_place(self) -> None:
        peers = PeerList.of([ListedPeer("a", PeerRole.TOOL, KEY)], OTHER_KEY)
        other = PeerList.of(
            [
                ListedPeer("b", PeerRole.EDGE, uid=7),
                ListedPeer("c", PeerRole.EDGE, gid=8),
                ListedPeer("d", PeerRole.TOOL, loopback=True),
            ]
        )
        before = peers.rights_of(PeerIdentity(KEY))
        assert before is not None
        assert before.listed == ListedPeer("a", PeerRole.TOOL, KEY)
        peers.become(other)
        for identity in (
            PeerIdentity(KEY),
            PeerIdentity(OTHER_KEY),
            PeerIdentity(uid=7),
            PeerIdentity(uid=1, gid=8),
            PeerIdentity(is_loopback=True),
        ):
            assert peers.rights_of(identity) is other.rights_of(identity)
        assert peers.has_other_users
        peers.become(PeerList.of([]))
        assert peers.rights_of(PeerIdentity(uid=7)) is UNLIMITED
