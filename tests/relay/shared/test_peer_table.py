"""Tables `[peers.<name>]`: the rights that they give, and one line for each mistake."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from zmq.utils import z85

from relay.shared.config_file import read_config_file
from relay.shared.peer_table import MAX_ID, PeerTable, listed_peers
from relay.shared.settings import SettingsError
from relay.wire.peers import (
    MAX_PATTERN_CHARS,
    MAX_PATTERNS,
    MAX_PEERS,
    ListedPeer,
    PeerRole,
)

KEY = bytes(range(32))
HEX = KEY.hex()
FORM = "must be a public key: 64 hexadecimal digits, as `event-relay keys` prints them"
NAME = 'a peer has 1 to 64 of a-z, A-Z, 0-9, "_", "." and "-", and no "." first'
ONE_OF = "must have one of key, uid, gid and loopback = true"
KNOWN = "known are gid, key, loopback, methods, publish, role, sources, uid, users"


@pytest.fixture(autouse=True)
def _own_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("EVENT_RELAY_CONFIG", raising=False)


def read(text: str) -> tuple[ListedPeer, ...]:
    Path("relay.toml").write_text(text, encoding="utf-8")
    return read_config_file().peers


def refusal(text: str) -> str:
    with pytest.raises(SettingsError) as refused:
        read(text)
    problem = str(refused.value)
    assert problem.isprintable(), "one line"
    return problem


def test_without_tables_nobody_is_listed() -> None:
    assert read("") == ()
    assert read("[peers]") == ()


def test_what_a_table_leaves_out_depends_on_the_role() -> None:
    assert read(
        f"""
        [peers.manager-1]
        role = "emitter"
        key = "{HEX}"
        [peers.edge-1]
        role = "edge"
        uid = 1000
        [peers.watcher]
        role = "tool"
        gid = 0
        """
    ) == (
        ListedPeer("manager-1", PeerRole.EMITTER, KEY, sources=("manager-1",)),
        ListedPeer("edge-1", PeerRole.EDGE, uid=1000, publish=("*",), sources=("*",), users=("*",)),
        ListedPeer("watcher", PeerRole.TOOL, gid=0),
    )


def test_a_table_may_give_every_right_and_take_it() -> None:
    assert read(
        f"""
        [peers.a]
        role = "emitter"
        key = '{z85.encode(KEY).decode()}'
        publish = ["event:*", "app_log"]
        sources = ["a", "b-*"]
        users = ["alice"]
        methods = ["restart"]
        [peers.b]
        role = "edge"
        loopback = true
        publish = []
        sources = []
        users = []
        """
    ) == (
        ListedPeer(
            "a",
            PeerRole.EMITTER,
            KEY,
            publish=("event:*", "app_log"),
            sources=("a", "b-*"),
            users=("alice",),
            methods=("restart",),
        ),
        ListedPeer("b", PeerRole.EDGE, loopback=True),
    )


def table(line: str, *, key: str = "uid = 1", name: str = "a") -> str:
    role = "" if line.startswith("role") else 'role = "emitter"\n'
    return f"[peers.{name}]\n{role}{key}\n{line}\n"


TEXT = "Input should be a valid string"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("peers = 1", "peers: must be a table (it is 1)"),
        ("[peers]\na = 1", "[peers.a]: must be a table (it is 1)"),
        ("[[peers.a]]\nrole = 'edge'", "[peers.a]: must be a table (it is [{'role': 'edge'}])"),
        ("[peers.a]", "[peers.a] role: Field required"),
        ("[peers.'']", f"[peers.]: {NAME} (it is '')"),
        ("[peers.'a b']", f"[peers.a b]: {NAME} (it is 'a b')"),
        ("[peers.'mgr*']", f"[peers.mgr*]: {NAME} (it is 'mgr*')"),
        ('[peers."a\\nb"]', f"[peers.a\\nb]: {NAME} (it is 'a\\nb')"),
        (
            table("role = 'admin'"),
            "[peers.a] role: Input should be 'emitter', 'edge' or 'tool' (it is 'admin')",
        ),
        (
            table("role = ['edge']"),
            "[peers.a] role: Input should be 'emitter', 'edge' or 'tool' (it is ['edge'])",
        ),
        (table("", key=""), f"[peers.a]: {ONE_OF}"),
        (table("gid = 1"), f"[peers.a]: {ONE_OF}"),
        (table("loopback = true"), f"[peers.a]: {ONE_OF}"),
        (table(f"key = '{HEX}'"), f"[peers.a]: {ONE_OF}"),
        (
            table("", key="loopback = false"),
            "[peers.a] loopback: must be true, or left out (it is False)",
        ),
        (
            table("", key="loopback = 1"),
            "[peers.a] loopback: Input should be a valid boolean (it is 1)",
        ),
        (table("", key="key = ''"), f"[peers.a] key: {FORM} (it is '')"),
        (table("", key="key = 'abc'"), f"[peers.a] key: {FORM} (it is 'abc')"),
        (
            table("", key=f"key = '{HEX[:-2]}  '"),
            f"[peers.a] key: {FORM} (it is '{HEX[:-2]}  ')",
        ),
        (table("", key=f"key = '{'#' * 40}'"), f"[peers.a] key: {FORM} (it is '{'#' * 40}')"),
        (table("", key="key = 1"), f"[peers.a] key: {TEXT} (it is 1)"),
        (
            table("", key="uid = -1"),
            "[peers.a] uid: Input should be greater than or equal to 0 (it is -1)",
        ),
        (
            table("", key=f"uid = {MAX_ID + 1}"),
            f"[peers.a] uid: Input should be less than or equal to {MAX_ID} (it is {MAX_ID + 1})",
        ),
        (
            table("", key="gid = true"),
            "[peers.a] gid: Input should be a valid integer (it is True)",
        ),
        (
            table("", key="uid = 'root'"),
            "[peers.a] uid: Input should be a valid integer (it is 'root')",
        ),
        (table("", key="uid = 1.0"), "[peers.a] uid: Input should be a valid integer (it is 1.0)"),
        *(
            (table(f"{right} = {value}"), f"[peers.a] {right}: {problem} (it is {value})")
            for right in ("publish", "sources", "users", "methods")
            for value, problem in (
                ("'event:*'", "must be a list of texts"),
                ("1", "must be a list of texts"),
            )
        ),
        (table("publish = [1]"), f"[peers.a] publish: {TEXT} (it is 1)"),
        (
            table("users = ['']"),
            "[peers.a] users: String should have at least 1 character (it is '')",
        ),
        (table("topics = ['event:*']"), f"[peers.a] topics: there is no such key; {KNOWN}"),
        (table("pubish = []"), "[peers.a] pubish: there is no such key; did you mean publish?"),
        (table("", name="a.b"), "[peers.a] role: Field required"),
    ],
)
def test_each_wrong_value_is_named_by_table_and_key(text: str, problem: str) -> None:
    assert refusal(text) == f"relay.toml: {problem}"


@pytest.mark.parametrize(
    ("first", "second", "key"),
    [
        (f"key = '{HEX}'", f"key = '{HEX.upper()}'", "key"),
        (f"key = '{HEX}'", f"key = '{z85.encode(KEY).decode()}'", "key"),
        ("uid = 7", "uid = 7", "uid"),
        ("gid = 7", "gid = 7", "gid"),
        ("loopback = true", "loopback = true", "loopback"),
    ],
)
def test_nobody_is_listed_twice(first: str, second: str, key: str) -> None:
    text = table("", key=first) + table("", key=second, name="b")
    assert refusal(text) == f"relay.toml: [peers.b] {key}: [peers.a] has the same one"


def test_a_user_and_a_group_may_have_the_same_number() -> None:
    text = table("", key="uid = 7") + table("", key="gid = 7", name="b")
    assert [(peer.uid, peer.gid) for peer in read(text)] == [(7, None), (None, 7)]


@pytest.mark.parametrize("key", ["uid", "gid"])
@pytest.mark.parametrize("number", [0, MAX_ID])
def test_numbers_of_users_and_groups_have_32_bits(key: str, number: int) -> None:
    [peer] = read(table("", key=f"{key} = {number}"))
    assert getattr(peer, key) == number


def test_lists_are_bounded() -> None:
    most = [f"event:{number}" for number in range(MAX_PATTERNS)]
    [peer] = read(table(f"publish = {most}"))
    assert peer.publish == tuple(most)
    problem = refusal(table(f"publish = {[*most, 'x']}"))
    assert problem.startswith("relay.toml: [peers.a] publish: at most ")
    assert f"{MAX_PATTERNS} patterns in a list" in problem
    longest = "x" * MAX_PATTERN_CHARS
    assert read(table(f"users = ['{longest}']"))[0].users == (longest,)
    assert "[peers.a] users: String should have at most 255" in refusal(
        table(f"users = ['{longest}x']")
    )


def test_the_number_of_peers_is_bounded() -> None:
    def many(number: int) -> str:
        return "".join(f"[peers.{n}]\nrole='tool'\nuid={n}\n" for n in range(number))

    assert len(read(many(MAX_PEERS))) == MAX_PEERS
    assert refusal(many(MAX_PEERS + 1)).startswith("relay.toml: [peers]: at most ")


def test_a_mistake_shows_as_much_of_a_value_as_a_line_has_room_for() -> None:
    assert len(refusal(table(f"key = '{'x' * 10_000}'", key=""))) < 300
    assert len(refusal(table("", name="x" * 10_000))) < 400


lists = st.none() | st.lists(st.sampled_from(["*", "event:*", "a"]), max_size=2)


@given(st.sampled_from(["emitter", "edge", "tool"]), lists, lists, lists, lists)
def test_a_given_right_is_taken_as_it_is(
    role: str,
    publish: list[str] | None,
    sources: list[str] | None,
    users: list[str] | None,
    methods: list[str] | None,
) -> None:
    given_rights = {"publish": publish, "sources": sources, "users": users, "methods": methods}
    table = PeerTable.model_validate({"role": role, "uid": 1, **given_rights})
    [peer] = listed_peers({"a": table})
    [without] = listed_peers({"a": PeerTable.model_validate({"role": role, "uid": 1})})
    for name, right in given_rights.items():
        expected = getattr(without, name) if right is None else tuple(right)
        assert getattr(peer, name) == expected
    if role != "edge":
        assert without.publish == without.users == without.methods == (), "denied by default"
