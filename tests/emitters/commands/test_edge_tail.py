"""`event-emit tail --url` prints an edge's events."""

import json
import signal
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.emitters.commands.shell import Tail, emit
from tests.support.cluster import Cluster, Edge
from tests.support.processes import run_cli
from tests.support.waiting import wait_for


def tail(cluster: Cluster, edge: Edge, *arguments: str, user: str = "alice") -> Tail:
    """Start a `tail` of `edge` whose token comes from a file."""
    file = cluster.directory / "token"
    file.write_text(cluster.token(user))
    url = f"ws://127.0.0.1:{edge.port}/ws"
    return Tail(cluster, *arguments, "--url", url, "--token-file", str(file))


def refused(
    arguments: Sequence[str], env: dict[str, str] | None = None, stdin: str = ""
) -> tuple[int, str]:
    ran = run_cli("emitters", "tail", *arguments, env=env or {}, stdin=stdin)
    return ran.returncode, ran.stderr


def test_it_prints_what_the_user_may_see_and_resumes(cluster: Cluster, edge: Edge) -> None:
    running = tail(cluster, edge, "event:a")
    emit(cluster, "event:a", '{"n": 1}')
    emit(cluster, "event:b", '{"n": 2}')
    running.wait_lines(1)
    edge.process.kill()
    emit(cluster, "event:ab", '{"n": 3}')
    cluster.start_edge(port=edge.port)
    lines = running.wait_lines(2)
    assert [(line["topic"], line["offset"], line["data"]) for line in lines] == [
        ("event:a", 1, {"n": 1}),
        ("event:ab", 3, {"n": 3}),
    ]
    assert "the connection is back" in running.process.output()
    running.process.signal(signal.SIGINT)
    wait_for(lambda: running.process.returncode is not None, "tail ends")
    assert running.process.returncode == 0


def test_topics_that_only_a_user_of_their_own_may_see(cluster: Cluster, edge: Edge) -> None:
    running = tail(cluster, edge, "notice:", "--count", "1", "--pretty")
    assert "Not allowed" in running.process.output()
    with cluster.emitter() as emitter:
        emitter.emit("notice:1", {"for": "bob"}, username="bob")
        emitter.emit("notice:2", {"for": "alice"}, username="alice")
    wait_for(lambda: running.process.returncode is not None, "tail ends")
    assert "notice:2 #2 from test-manager" in running.output()
    assert "bob" not in running.output()


@pytest.mark.parametrize("source", ["option", "variable", "stdin"])
def test_the_token_comes_from_an_option_a_variable_or_standard_input(
    cluster: Cluster, edge: Edge, source: str
) -> None:
    cluster.emitter().emit("task:1", {"status": "in_progress"}, username="alice")
    token = cluster.token("alice")
    options = {"option": ["--token", token], "variable": [], "stdin": ["--token", "-"]}[source]
    env = {"EVENT_RELAY_TOKEN": token} if source == "variable" else {}
    url = f"ws://127.0.0.1:{edge.port}/ws"
    ran = run_cli(
        *("emitters", "tail", "task:", "--count", "1", "--url", url, *options),
        env=env,
        stdin=token if source == "stdin" else "",
    )
    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout)["retained"] is True


def test_wrong_input_is_one_line(cluster: Cluster, edge: Edge, tmp_path: Path) -> None:
    url = f"ws://127.0.0.1:{edge.port}/ws"
    assert refused(["--url", url]) == (
        2,
        "event-emit: token: missing; give --token, --token-file or EVENT_RELAY_TOKEN\n",
    )
    assert refused(["--url", url, "--token", "x"]) == (
        2,
        "event-emit: token: refused: Invalid token\n",
    )
    assert refused(["--url", "http://x", "--token", "x"]) == (
        2,
        "event-emit: url: must begin with ws:// or wss://, not 'http://x'\n",
    )
    token = cluster.token("alice")
    code, error = refused(["X", "--url", url, "--token", token])
    assert (code, error) == (2, "event-emit: PREFIX: Invalid topic: 'X*'\n")


def test_an_edge_that_is_away(cluster: Cluster) -> None:
    code, error = refused(["--url", "ws://127.0.0.1:1/ws", "--token", "x", "--timeout", "0.2"])
    assert code == 1
    assert error.startswith("event-emit: no connection to ws://127.0.0.1:1/ws: ")
    assert len(error.splitlines()) == 1
