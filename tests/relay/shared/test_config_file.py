"""`relay.toml`: found, read, and refused with one line that names file, key and known names."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from edge.config import EdgeSettings
from emitters.config import EmitterSettings
from relay.config import RelaySettings
from relay.shared.config_file import MAX_FILE_BYTES, ConfigFile, read_config_file
from relay.shared.settings import SettingsError, settings_in_file
from relay.wire.grants import MAX_NAMES, Grant, all_names
from relay.wire.kinds import MAX_KINDS, MAX_STREAMS, Kind, Kinds

Write = Callable[[str], Path]
EXAMPLE = Path(__file__).parents[3] / "docs" / "relay.example.toml"


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Writes `relay.toml` into the directory in which the test runs."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("EVENT_RELAY_CONFIG", raising=False)

    def write(text: str) -> Path:
        path = tmp_path / "relay.toml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


def refusal() -> str:
    with pytest.raises(SettingsError) as caught:
        read_config_file()
    text = str(caught.value)
    assert text.isprintable(), "one line"
    return text


@pytest.mark.usefixtures("write")
def test_without_a_file_the_built_in_kinds_exist() -> None:
    assert read_config_file() == ConfigFile(None, {}, Kinds(), frozenset())


def test_the_file_of_the_current_directory_is_read(write: Write) -> None:
    write("[relay]\nheartbeat_s = 2\n[edge]\nport = 1\n[emitter]\nname = 'x'\n")
    file = read_config_file()
    assert (file.path, file.name) == (Path("relay.toml"), "relay.toml")
    assert file.sections == {
        "relay": {"heartbeat_s": 2},
        "edge": {"port": 1},
        "emitter": {"name": "x"},
    }


def test_the_variable_names_another_file(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write("[relay]\nheartbeat_s = 2")
    other = tmp_path / "other.toml"
    other.write_text("\ufeffignore_variables = ['edge_config']", encoding="utf-8")
    monkeypatch.setenv("EVENT_RELAY_CONFIG", str(other))
    file = read_config_file()
    assert file.path == other
    assert file.ignored_variables == {"EDGE_CONFIG"}
    assert not file.sections["relay"]
    other.unlink()
    assert refusal() == f"EVENT_RELAY_CONFIG: there is no file {other}"
    monkeypatch.setenv("EVENT_RELAY_CONFIG", "")
    assert read_config_file().sections["relay"] == {"heartbeat_s": 2}, "as if it were not set"


@pytest.mark.usefixtures("write")
def test_a_file_that_cannot_be_read_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EVENT_RELAY_CONFIG", str(tmp_path))
    assert refusal().startswith(f"{tmp_path}: cannot be read: ")


@pytest.mark.usefixtures("write")
def test_a_link_to_nothing_is_not_the_same_as_no_file(tmp_path: Path) -> None:
    (tmp_path / "relay.toml").symlink_to(tmp_path / "not mounted.toml")
    assert refusal() == "relay.toml: is a link to a file that is not there"


def test_kinds_change_built_in_ones_and_add_others(write: Write) -> None:
    write(
        """
        [kinds.event]
        subscribe = ["*"]
        [kinds.resource-monitor]
        mode = "stream"
        [kinds.task]
        retention_s = 60
        publish = ["worker"]
        [kinds.addressed]
        retention_bytes = 65536
        [kinds.order_paid]
        mode = "stream"
        retention_s = 0.5
        retention_bytes = 100_000
        subscribe = ["shop", "shop"]
        publish = ["till"]
        [kinds.server_log]
        presence = true
        """
    )
    kinds = read_config_file().kinds
    assert kinds.listed == (
        Kind("event", is_stream=True, subscribe=all_names("*")),
        Kind("task", is_stream=True, retention_s=60, publish=all_names("worker")),
        Kind("addressed", is_stream=True, retention_bytes=65536),
        Kind("resource-monitor", is_stream=True, subscribe=all_names("user")),
        Kind("order_paid", True, all_names("shop"), all_names("till"), 0.5, 100_000),
        Kind("server_log", presence=True),
    )
    assert kinds.presence == {"server_log"}
    assert kinds.roles == ("user", "admin", "worker", "shop", "till")


def test_roles_may_have_some_names_of_a_kind(write: Write) -> None:
    write(
        """
        [kinds.private]
        subscribe = { user = ["{username}", "{username}:*", "{username}"], support = "*" }
        publish = { "*" = "{username}:*" }
        """
    )
    kinds = read_config_file().kinds
    own = "{username}:*"
    assert kinds.get("private") == Kind(
        "private",
        subscribe=(Grant("user", "{username}"), Grant("user", own), Grant("support")),
        publish=(Grant("*", own),),
    )
    assert kinds.roles == ("user", "admin", "support")
    write(f"[kinds.a]\nsubscribe = {{ user = {['a'] * (MAX_NAMES + 1)} }}")
    assert refusal().startswith("relay.toml: [kinds.a] subscribe: at most ")


def test_an_event_may_become_live(write: Write) -> None:
    write("[kinds.event]\nmode = 'live'")
    assert read_config_file().kinds.streams == ("task", "addressed")


GRANTS = "must be a list of roles, or a table of roles and names of topics"
ROLES = 'must be "*" or roles of 1 to 64 of a-z, 0-9, "_" and "-", a letter first'
KIND = 'a kind has 1 to 64 of a-z, 0-9, "_" and "-", a letter first'
TOP_LEVEL = "known are edge, emitter, ignore_variables, kinds, methods, peers, relay"
STREAM_OR_LIVE = "Input should be 'stream' or 'live'"


METHOD = 'a method has 1 to 64 of a-z, 0-9, "_", "." and "-", a letter first (it is \'A\')'


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("x = ?", "is not TOML: Invalid value (at line 1, column 5)"),
        ("x = 1\nx = 2\n", "is not TOML: Cannot overwrite a value (at line 2, column 6)"),
        ("colour = 1", f"colour: there is no such key; {TOP_LEVEL}"),
        ("[colour]", f"[colour]: there is no such section; {TOP_LEVEL}"),
        ("[kindz.a]", "[kindz]: there is no such section; did you mean kinds?"),
        ('"a\\nb" = 1', f"a\\nb: there is no such key; {TOP_LEVEL}"),
        ("ignore_variables = 'X'", "ignore_variables: must be a list of texts (it is 'X')"),
        ("ignore_variables = [1]", "ignore_variables: Input should be a valid string (it is 1)"),
        ("relay = 1", "relay: must be a table (it is 1)"),
        ("kinds = 1", "kinds: must be a table (it is 1)"),
        ("[kinds]\na = 1", "[kinds.a]: must be a table (it is 1)"),
        ("[kinds.Order]", f"[kinds.Order]: {KIND} (it is 'Order')"),
        ("[kinds.'a:b']", f"[kinds.a:b]: {KIND} (it is 'a:b')"),
        ("[kinds.a]\nmod = 1", "[kinds.a] mod: there is no such key; did you mean mode?"),
        (
            "[kinds.a]\nx = 1",
            "[kinds.a] x: there is no such key; known are mode, presence, publish, retention_bytes,"
            " retention_s, subscribe",
        ),
        ("[kinds.a]\nmode = 'steam'", f"[kinds.a] mode: {STREAM_OR_LIVE} (it is 'steam')"),
        ("[kinds.a]\nmode = 1", f"[kinds.a] mode: {STREAM_OR_LIVE} (it is 1)"),
        ("[kinds.a]\nsubscribe = 'x'", f"[kinds.a] subscribe: {GRANTS} (it is 'x')"),
        ("[kinds.a]\nsubscribe = ['U']", f"[kinds.a] subscribe: {ROLES} (it is 'U')"),
        ("[kinds.a]\nsubscribe = [1]", f"[kinds.a] subscribe: {GRANTS} (it is [1])"),
        ("[kinds.a]\nsubscribe = {U = '*'}", f"[kinds.a] subscribe: {ROLES} (it is 'U')"),
        (
            "[kinds.a]\nsubscribe = {user = '{username}*'}",
            "[kinds.a] subscribe: {username} stands once, and between colons or ends of the name"
            " (it is '{username}*')",
        ),
        (
            "[kinds.a]\npublish = {user = 1}",
            "[kinds.a] publish: must be a list of texts (it is 1)",
        ),
        ("[kinds.a]\npublish = ['user*']", f"[kinds.a] publish: {ROLES} (it is 'user*')"),
        (
            "[kinds.a]\nmode = 'stream'\nretention_s = 0",
            "[kinds.a] retention_s: Input should be greater than 0 (it is 0)",
        ),
        (
            "[kinds.a]\nmode = 'stream'\nretention_s = inf",
            "[kinds.a] retention_s: Input should be a finite number (it is inf)",
        ),
        (
            "[kinds.a]\nmode = 'stream'\nretention_s = '7'",
            "[kinds.a] retention_s: Input should be a valid number (it is '7')",
        ),
        (
            "[kinds.a]\nmode = 'stream'\nretention_bytes = true",
            "[kinds.a] retention_bytes: Input should be a valid integer (it is True)",
        ),
        (
            "[kinds.a]\nmode = 'stream'\nretention_bytes = 65535",
            "[kinds.a] retention_bytes: Input should be greater than or equal to 65536"
            " (it is 65535)",
        ),
        (
            "[kinds.a]\nretention_s = 7",
            '[kinds.a] retention_s: is for streams; add mode = "stream"',
        ),
        (
            "[kinds.a]\nretention_bytes = 65536",
            '[kinds.a] retention_bytes: is for streams; add mode = "stream"',
        ),
        (
            "[kinds.task]\nmode = 'live'",
            '[kinds.task] mode: must be "stream", for its events may not be lost',
        ),
        (
            "[kinds.addressed]\nmode = 'live'",
            '[kinds.addressed] mode: must be "stream", for its events may not be lost',
        ),
        (
            "[kinds.edge]",
            "[kinds.edge]: Event Relay itself uses this kind; choose another name",
        ),
        (
            "[kinds.presence]\nmode = 'stream'",
            "[kinds.presence]: Event Relay itself uses this kind; choose another name",
        ),
        (
            "[kinds.task]\npresence = true",
            "[kinds.task] presence: not allowed, nobody subscribes to it",
        ),
        (
            "[kinds.a]\npresence = 1",
            "[kinds.a] presence: Input should be a valid boolean (it is 1)",
        ),
        (
            "[kinds.task]\nsubscribe = ['user']",
            "[kinds.task] subscribe: not allowed, its events reach their user alone",
        ),
        (
            "[kinds.addressed]\npublish = ['user']",
            "[kinds.addressed] publish: not allowed, the kind of the event's topic has it",
        ),
        ("[methods.A]", f"[methods.A]: {METHOD}"),
        (
            "[methods.m]\ncal = ['user']",
            "[methods.m] cal: there is no such key; did you mean call?",
        ),
        ("[methods.m]\ncall = ['U']", f"[methods.m] call: {ROLES} (it is 'U')"),
        (
            "\n".join(f"[kinds.k{n}]\nmode = 'stream'" for n in range(MAX_STREAMS - 2)),
            f"[kinds]: {MAX_STREAMS + 1} are streams, the limit is {MAX_STREAMS}",
        ),
    ],
)
def test_what_is_wrong_is_named(write: Write, text: str, problem: str) -> None:
    write(text)
    assert refusal() == f"relay.toml: {problem}"


def test_sizes_are_bounded(write: Write) -> None:
    write("\n".join(f"[kinds.k{number}]" for number in range(MAX_KINDS)))
    assert len(read_config_file().kinds.listed) == MAX_KINDS + 4
    write("\n".join(f"[kinds.k{number}]" for number in range(MAX_KINDS + 1)))
    assert refusal().startswith(f"relay.toml: [kinds]: at most {MAX_KINDS} kinds, ")
    write("#" * (MAX_FILE_BYTES + 1))
    assert refusal() == f"relay.toml: has more than {MAX_FILE_BYTES} bytes"
    write(f"x = {'[' * 10_000}")
    assert refusal().startswith("relay.toml: is not TOML: ")
    write(f"x = {'9' * 10_000}")
    assert refusal().startswith("relay.toml: is not TOML: ")


def test_bytes_that_are_no_text_are_refused(write: Write) -> None:
    write("").write_bytes(b"\xff")
    assert refusal().startswith("relay.toml: is not TOML: 'utf-8' codec can't decode")


def test_the_example_of_the_documentation_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EVENT_RELAY_CONFIG", str(EXAMPLE))
    file = read_config_file()
    names = [each.name for each in file.kinds.listed]
    built_in = ["event", "task", "addressed", "resource-monitor"]
    assert names == [*built_in, "order_paid", "server_log", "room", "news", "private"]
    for settings in (RelaySettings, EdgeSettings, EmitterSettings):
        assert settings_in_file(settings, file), "a section that means something"
        settings()


def test_the_peers_in_the_example_are_such_as_are_read(write: Write) -> None:
    lines = EXAMPLE.read_text(encoding="utf-8").partition("# [peers.")[2].splitlines()
    assignment = re.compile(r"# (\[peers\..*|[a-z]+ = .*)")
    found = [match[1] for line in lines if (match := assignment.fullmatch(line))]
    write("\n".join(["[peers.edge-1]", *found]))
    peers = {peer.name: peer for peer in read_config_file().peers}
    assert list(peers) == ["edge-1", "manager-1", "backups", "local"]
    assert peers["manager-1"].methods == ("restart_server",)


def test_the_snippets_of_the_documentation_are_read(write: Write) -> None:
    text = (EXAMPLE.parent / "operations.md").read_text(encoding="utf-8")
    snippets = re.findall(r"```toml\n(.*?)```", text, re.DOTALL)
    assert snippets
    for snippet in snippets:
        write(snippet)
        assert read_config_file().kinds.get("order_paid")
        for settings in (RelaySettings, EdgeSettings, EmitterSettings):
            settings()
