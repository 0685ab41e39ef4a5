"""The command-line programs: one line for each refusal, and clean ends."""

import signal
import socket

import pytest

from tests.support.cluster import Cluster
from tests.support.processes import run_cli


@pytest.mark.parametrize(
    ("program", "setting", "value", "expected"),
    [
        ("relay", "RELAY_INGRESS", "5555", "must be tcp://HOST:PORT or ipc://PATH"),
        ("relay", "RELAY_CONTROL", "tcp://127.0.0.1:99999", "a port from 1 to 65535"),
        ("relay", "RELAY_HEARTBEAT_S", "soon", "valid number"),
        ("relay", "RELAY_DURABILITY", "nonsense", "'process' or 'power'"),
        ("relay", "RELAY_RETENTION_S", "0", "greater than 0"),
        ("relay", "RELAY_RETENTION_S", "inf", "finite number"),
        ("relay", "RELAY_RETENTION_BYTES", "1000", "greater than or equal to 65536"),
        ("relay", "RELAY_JOURNALED_KINDS", "event", "must contain 'task'"),
        ("edge", "EDGE_PORT", "http", "valid integer"),
        ("edge", "EDGE_JWT_SECRET", "short", "must have at least 32 bytes"),
        ("edge", "EDGE_ALLOWED_ORIGINS", "example.org", "must be origins such as"),
        ("edge", "EDGE_TOPIC_PREFIXES", "Event:", "must be topic prefixes such as"),
    ],
)
def test_a_wrong_setting_is_one_line_and_exit_code_2(
    cluster: Cluster, program: str, setting: str, value: str, expected: str
) -> None:
    ended = run_cli(program, env=cluster.env | {setting: value})
    assert ended.returncode == 2
    [line] = ended.stderr.splitlines()
    assert line.startswith(f"event-{program}: {setting}: ")
    assert expected in line
    assert "short" not in line, "a secret is not shown"


@pytest.mark.parametrize("setting", ["RELAY_INGRESS", "RELAY_EGRESS", "RELAY_CONTROL"])
def test_the_relay_refuses_a_taken_port(cluster: Cluster, setting: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        endpoint = f"tcp://127.0.0.1:{taken.getsockname()[1]}"
        ended = run_cli("relay", env=cluster.env | {setting: endpoint})
    assert ended.returncode == 2
    assert ended.stderr == f"event-relay: {setting}: {endpoint} is already in use\n"


def test_the_relay_refuses_a_taken_ipc_path(cluster: Cluster) -> None:
    """libzmq itself would silently take the path over."""
    endpoint = f"ipc://{cluster.directory}/ingress"
    cluster.start_relay(RELAY_INGRESS=endpoint)
    other = Cluster(cluster.directory / "other")
    ended = run_cli("relay", env=other.env | {"RELAY_INGRESS": endpoint})
    assert ended.returncode == 2
    assert ended.stderr == f"event-relay: RELAY_INGRESS: {endpoint} is already in use\n"


def test_the_edge_refuses_a_taken_port(cluster: Cluster) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        ended = run_cli("edge", env=cluster.env | {"EDGE_PORT": port})
    assert ended.returncode == 2
    [line] = ended.stderr.splitlines()
    assert line.startswith(f"event-edge: EDGE_PORT: cannot listen on 127.0.0.1:{port}")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_relay_and_edge_end_cleanly_on_a_signal(cluster: Cluster, number: int) -> None:
    relay = cluster.start_relay()
    for workers in ("1", "2"):
        edge = cluster.start_edge(EDGE_WORKERS=workers)
        edge.process.signal(number)
        assert edge.process.terminate() == 0, edge.process.output()
        assert "Traceback" not in edge.process.output()
    relay.signal(number)
    assert relay.terminate() == 0, relay.output()
    assert "Traceback" not in relay.output()


def test_tokens_and_users_are_managed_from_the_shell(cluster: Cluster) -> None:
    env = cluster.env
    token = run_cli("edge", "token", "alice", "--role", "admin", "--ttl", "60", env=env)
    identity = cluster.tokens.verify(token.stdout.strip(), 0)
    assert (identity.username, identity.role) == ("alice", "admin")
    added = run_cli("edge", "user", "add", "bob", "--password-stdin", env=env, stdin="secret\n")
    assert (added.returncode, added.stdout) == (0, "Added bob (user).\n")
    assert run_cli("edge", "user", "list", env=env).stdout == "bob\tuser\n"
    assert run_cli("edge", "user", "remove", "bob", env=env).stdout == "Removed bob.\n"
    missing = run_cli("edge", "user", "remove", "bob", env=env)
    assert (missing.returncode, missing.stderr) == (1, "Error: there is no user 'bob'\n")
    empty = run_cli("edge", "user", "add", "bob", "--password-stdin", env=env, stdin="\n")
    assert empty.stderr == "Error: a password has 1 to 1024 characters\n"


def test_statistics_of_a_missing_relay_are_one_line(cluster: Cluster) -> None:
    ended = run_cli("relay", "stats", "--timeout", "0.2", env=cluster.env)
    assert (ended.returncode, ended.stderr) == (1, f"Error: no relay at {cluster.control}\n")


@pytest.mark.parametrize("workers", ["1", "2"])
def test_an_edge_names_an_unknown_variable_once(cluster: Cluster, workers: str) -> None:
    cluster.start_relay()
    edge = cluster.start_edge(EDGE_MAX_CONECTIONS="5", EDGE_WORKERS=workers)
    assert edge.process.output().count("EDGE_MAX_CONECTIONS") == 1
    assert "did you mean EDGE_MAX_CONNECTIONS?" in edge.process.output()


def test_an_edge_on_another_server_names_an_unknown_variable(cluster: Cluster) -> None:
    cluster.env["EDGE_MAX_CONECTIONS"] = "5"
    cluster.start_relay()
    edge = cluster.start_plain_edge()
    assert edge.process.output().count("EDGE_MAX_CONECTIONS is not a setting") == 1


@pytest.mark.parametrize(
    ("command", "variable"),
    [
        (("relay", "stats"), "RELAY_CONTORL"),
        (("relay", "journal", "list"), "RELAY_DATADIR"),
        (("edge", "user", "list"), "EDGE_USER_FILE"),
        (("edge", "token", "alice"), "EDGE_JWT_SECRETS"),
        (("emitters", "event:a", "{}"), "EMITTER_NAMES"),
        (("emitters", "task", "--user", "alice", "--", "true"), "EMITTER_SPOOLS"),
        (("emitters", "tail", "--timeout", "0"), "EMITTER_RELAY_EGRES"),
    ],
)
def test_every_command_names_an_unknown_variable_once(
    cluster: Cluster, command: tuple[str, ...], variable: str
) -> None:
    cluster.start_relay()
    ended = run_cli(*command, env=cluster.env | {variable: "x"})
    assert ended.stderr.count(f"{variable} is not a setting and has no effect") == 1
    assert variable not in ended.stdout


def test_the_relay_names_an_unknown_variable_and_starts(cluster: Cluster) -> None:
    relay = cluster.start_relay(RELAY_INGRES="x")
    assert relay.output().count("did you mean RELAY_INGRESS?") == 1
