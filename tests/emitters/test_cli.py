"""`event-emit` explains itself, and every fault in one line."""

import json

import pytest

from tests.emitters.commands.shell import emit
from tests.support.cluster import Cluster


@pytest.fixture
def relayed(cluster: Cluster) -> Cluster:
    """A cluster whose relay runs."""
    cluster.start_relay()
    return cluster


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("event:x",), 'JSON: is missing; for example \'{"server_name": "survival"}\''),
        (("event:x", "{"), "JSON: not JSON: "),
        (("event:x", "[" * 100_000), "JSON: not usable JSON: "),
        (("task:1", "[1]", "--user", "a"), "data: of a task must be a map, not list"),
        (("event:x", '{"a": [Infinity]}'), "data.a[0]: inf cannot be carried by JSON"),
        (("event:x", '{"a": ' + "[" * 50 + "]" * 50 + "}"), "data: nested deeper than 32"),
        (("event:x", json.dumps({"a": 2**64})), "data.a: an integer beyond 2**53 - 1"),
        (("event:a*", "{}"), "topic: 'event:a*': '*' is allowed only at the end"),
        (("task:1", "{}"), "username: an event of kind 'task' is addressed to one user"),
        (("event:x", "{}", "--type", ""), "type: must have 1 to 255 characters"),
        (("event:x", "{}", "--ingress", "x"), "EMITTER_RELAY_INGRESS: must be tcp://"),
        (("task", "--user", "", "--", "true"), "username: must have 1 to 255 characters"),
    ],
)
def test_bad_input(relayed: Cluster, arguments: tuple[str, ...], problem: str) -> None:
    result = emit(relayed, *arguments)
    assert result.returncode == 2
    [line] = result.stderr.splitlines()
    assert line.startswith(f"event-emit: {problem}")


@pytest.mark.parametrize(
    ("arguments", "stdin"),
    [
        (("--timeout", "0.3", "event:x", "{}"), ""),
        (("publish", "--timeout", "0.3"), '{"topic": "event:x", "data": {}}'),
        (("tail", "--timeout", "0.3", "event:"), ""),
        (("task", "--timeout", "0.3", "--user", "alice", "--", "touch", "{}"), ""),
    ],
)
def test_a_relay_that_cannot_be_reached(
    cluster: Cluster, arguments: tuple[str, ...], stdin: str
) -> None:
    started = cluster.directory / "started"
    given = [str(started) if each == "{}" and "task" in arguments else each for each in arguments]
    result = emit(cluster, *given, stdin=stdin, EMITTER_RELAY_EGRESS=cluster.egress)
    assert result.returncode == 1
    [line] = result.stderr.splitlines()
    assert line.startswith("event-emit: the relay cannot be reached within 0.3 s; ")
    assert not started.exists()


def test_help_shows_every_form(cluster: Cluster) -> None:
    result = emit(cluster, "--help")
    assert result.returncode == 0
    for form in ("TOPIC JSON", "< EVENTS.jsonl", "tail [PREFIX]", "task --user NAME -- COMMAND"):
        assert form in result.stdout
    assert emit(cluster, "tial").returncode == 2
