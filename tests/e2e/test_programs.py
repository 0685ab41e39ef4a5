"""The command-line programs: one line for each refusal, and clean ends."""

import re
import signal
import socket
import time

import pytest

from edge.http.users import UsersFile
from tests.support.cluster import Cluster, asgi_options, free_ports
from tests.support.processes import ROOT, run_cli, run_new

EXAMPLE = ROOT / "docs" / "relay.example.toml"


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
    ended = run_new("relay", env=other.env | {"RELAY_INGRESS": endpoint})
    assert ended.returncode == 2
    assert ended.stderr == f"event-relay: RELAY_INGRESS: {endpoint} is already in use\n"


def test_the_edge_refuses_a_taken_port(cluster: Cluster) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        ended = run_new("edge", env=cluster.env | {"EDGE_PORT": port})
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
    token = run_new("edge", "token", "alice", "--role", "admin", "--ttl", "60", env=env)
    identity = cluster.tokens.verify(token.stdout.strip(), time.time())
    assert (identity.username, identity.role) == ("alice", "admin")
    added = run_new(
        "edge", "user", "add", "bob", "--password-stdin", env=env, stdin="a long secret\n"
    )
    assert (added.returncode, added.stdout) == (0, "Added bob (user).\n")
    assert run_cli("edge", "user", "list", env=env).stdout == "bob\tuser\n"
    remove = ("user", "remove", "--keep-tokens", "bob")
    assert run_cli("edge", *remove, env=env).stdout == "Removed bob.\n"
    missing = run_cli("edge", "user", "remove", "bob", env=env)
    assert (missing.returncode, missing.stderr) == (1, "Error: there is no user 'bob'\n")
    empty = run_cli("edge", "user", "add", "bob", "--password-stdin", env=env, stdin="\n")
    assert empty.stderr == "Error: a password has 8 to 1024 characters\n"


def test_the_first_user_gets_a_password_that_is_shown_once(cluster: Cluster) -> None:
    first = ("edge", "user", "add", "ann", "--role", "admin", "--generate", "--if-first")
    added = run_cli(*first, env=cluster.env)
    assert added.returncode == 0, added.stderr
    [password] = re.findall(r"^The password of ann is (\S{16}) \(it is not", added.stdout, re.M)
    users = UsersFile(cluster.directory / "edge" / "users.json")
    assert users.verify("ann", password) is not None
    again = run_cli(*first, env=cluster.env)
    assert again.stdout.endswith("users.json has users already; none is changed.\n")
    changed = run_cli(
        *("edge", "user", "passwd", "ann", "--password-stdin", "--keep-tokens"),
        env=cluster.env,
        stdin="new secret\n",
    )
    assert (changed.returncode, changed.stdout) == (0, "Changed the password of ann.\n")
    assert users.verify("ann", "new secret") is not None
    assert users.list()["ann"].role == "admin"


@pytest.mark.parametrize("mode", [0o644, 0o660, 0o604])
@pytest.mark.parametrize("name", ["jwt-secret", "secrets", "users.json", "elsewhere.json"])
def test_a_file_of_secrets_that_others_may_use_is_refused(
    cluster: Cluster, name: str, mode: int
) -> None:
    path = cluster.directory / "edge" / name
    env = {each: value for each, value in cluster.env.items() if each != "EDGE_JWT_SECRET"}
    setting = "EDGE_DATA_DIR"
    if name == "elsewhere.json":
        setting, env = "EDGE_USERS_FILE", env | {"EDGE_USERS_FILE": str(path)}
    if name == "secrets":
        setting, env = "EDGE_JWT_SECRET_FILE", env | {"EDGE_JWT_SECRET_FILE": str(path)}
    path.parent.mkdir(0o700)
    holds_secrets = name in ("jwt-secret", "secrets")
    path.write_text("s" * 40 if holds_secrets else '{"users": {}}')
    path.chmod(mode)
    line = f"event-edge: {setting}: {path}: other users may use it (its mode is {mode:o}):"
    wanted = (2, f"{line} chmod 600 {path}\n")
    commands = [(), ("token", "ann")] if holds_secrets else [(), ("user", "list")]
    for command in commands:
        ended = run_cli("edge", *command, env=env)
        assert (ended.returncode, ended.stderr) == wanted
    path.chmod(0o600)
    assert run_cli("edge", *commands[1], env=env).returncode == 0


def test_statistics_of_a_missing_relay_are_one_line(cluster: Cluster) -> None:
    ended = run_new("relay", "stats", "--timeout", "0.2", env=cluster.env)
    assert (ended.returncode, ended.stderr) == (1, f"Error: no relay at {cluster.control}\n")


COMMANDS = [
    (("relay",), "RELAY_INGRES"),
    (("relay", "config"), "RELAY_INGRES"),
    (("relay", "stats"), "RELAY_CONTORL"),
    (("relay", "journal", "list"), "RELAY_DATADIR"),
    (("edge",), "EDGE_MAX_CONECTIONS"),
    (("edge", "config"), "EDGE_MAX_CONECTIONS"),
    (("edge", "user", "list"), "EDGE_USER_FILE"),
    (("edge", "token", "alice"), "EDGE_JWT_SECRETS"),
    (("emitters", "event:a", "{}"), "EMITTER_NAMES"),
    (("emitters", "task", "--user", "alice", "--", "true"), "EMITTER_SPOOLS"),
    (("emitters", "tail", "--timeout", "0"), "EMITTER_RELAY_EGRES"),
    (
        ("relay.demo", "m", "--servers", "a", "--data-dir", "unused", "--user", "alice"),
        "EMITTER_RELAY_INGRES",
    ),
]
"""Each program and command, with a variable that is none of its settings."""


@pytest.mark.parametrize(("command", "variable"), COMMANDS)
def test_an_unknown_variable_is_one_line_and_exit_code_2(
    cluster: Cluster, command: tuple[str, ...], variable: str
) -> None:
    ended = run_cli(*command, env=cluster.env | {variable: "x"})
    assert (ended.returncode, ended.stdout) == (2, "")
    [line] = ended.stderr.splitlines()
    assert f": {variable}: there is no such setting; did you mean " in line


@pytest.mark.parametrize(("command", "variable"), COMMANDS)
def test_a_wrong_file_is_one_line_and_exit_code_2(
    cluster: Cluster, command: tuple[str, ...], variable: str
) -> None:
    """Also for a misspelt key in the section of the program."""
    wrong = cluster.directory / "wrong.toml"
    section, key = variable.lower().split("_", 1)
    for text, problem in (
        ("[kinds.order]\nmode = 'steam'", "[kinds.order] mode: Input should be 'stream' or 'live'"),
        (f"[{section}]\n{key} = 'x'", f"[{section}] {key}: there is no such setting; did you mean"),
    ):
        wrong.write_text(text)
        ended = run_cli(*command, env=cluster.env | {"EVENT_RELAY_CONFIG": str(wrong)})
        assert (ended.returncode, ended.stdout) == (2, "")
        [line] = ended.stderr.splitlines()
        assert f": {wrong}: {problem}" in line


def test_the_application_on_another_server_refuses_both(cluster: Cluster) -> None:
    """Here `uvicorn` is the program; others let their worker processes end as well."""
    command = ("uvicorn", *asgi_options("uvicorn", free_ports(1)[0]))
    missing = str(cluster.directory / "missing.toml")
    for name, value in (("EDGE_MAX_CONECTIONS", "5"), ("EVENT_RELAY_CONFIG", missing)):
        ended = run_cli(*command, env=cluster.env | {name: value})
        assert ended.returncode == 2
        [line] = ended.stderr.splitlines()
        assert line.startswith(f"event-edge: {name}: there is no ")


def test_variables_of_other_software_are_left_alone(cluster: Cluster) -> None:
    file = cluster.directory / "relay.toml"
    file.write_text('ignore_variables = ["RELAY_SERVER_URL", "EDGE_CONFIG"]')
    cluster.env |= {
        "EVENT_RELAY_CONFIG": str(file),
        "RELAY_SERVER_URL": "x",
        "EDGE_CONFIG": "y",
        "EDGE_SERVICE_HOST": "10.0.0.1",
    }
    cluster.start_relay()
    edge = cluster.start_edge(EDGE_WORKERS="2")
    assert "EDGE_CONFIG" not in edge.process.output()


def test_config_shows_what_holds_and_no_secret(cluster: Cluster) -> None:
    ended = run_cli("edge", "config", env=cluster.env | {"EVENT_RELAY_CONFIG": str(EXAMPLE)})
    assert ended.returncode == 0, ended.stderr
    shown = [line.split() for line in ended.stdout.splitlines()]
    assert ["EDGE_WORKERS", "2", "file"] in shown
    assert ["EDGE_JWT_SECRET", "(secret)", "variable"] in shown
    assert cluster.env["EDGE_JWT_SECRET"] not in ended.stdout
    ended = run_cli("relay", "config", env=cluster.env | {"EVENT_RELAY_CONFIG": str(EXAMPLE)})
    assert "RELAY_JOURNALED_KINDS  event,task,addressed,order_paid" in ended.stdout


def test_a_role_of_the_file_is_given_to_users_and_tokens(cluster: Cluster) -> None:
    env = cluster.env | {"EVENT_RELAY_CONFIG": str(EXAMPLE)}
    token = run_cli("edge", "token", "ann", "--role", "till", env=env).stdout.strip()
    assert cluster.tokens.verify(token, time.time()).role == "till"
    add = ("user", "add", "ann", "--password-stdin", "--role")
    added = run_cli("edge", *add, "accounting", env=env, stdin="a long secret\n")
    assert added.stdout == "Added ann (accounting).\n"
    refused = run_cli("edge", *add, "accountant", env=env, stdin="a long secret\n")
    assert refused.returncode == 2
    known = "user, admin, shop, accounting, till, editor, support"
    assert f"'accountant' is none of {known}. A role exists when" in refused.stderr
