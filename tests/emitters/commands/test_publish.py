"""`event-emit` publishes one event, or JSON lines."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import closing, suppress

import pytest

from emitters import Emitter, OutboxFull
from emitters.spool import Spool
from tests.emitters.commands.shell import Tail, emit
from tests.support.cluster import Cluster
from tests.support.processes import python


def test_one_event(relayed: Cluster, tail: Tail) -> None:
    result = emit(relayed, "event:after_backup", '{"server_name": "survival"}', "--user", "bob")
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    [line] = tail.wait_lines(1)
    assert list(line) == [
        "epoch", "offset", "topic", "type", "data", "username", "source", "emitted_at",
        "relayed_at", "id",
    ]  # fmt: skip
    assert line["offset"] == 1
    assert line["topic"] == "event:after_backup"
    assert line["type"] == "event"
    assert line["data"] == {"server_name": "survival"}
    assert line["username"] == "bob"
    assert line["source"] == "event-emit"


def test_options_may_come_first(relayed: Cluster, tail: Tail) -> None:
    assert emit(relayed, "--name", "cron", "--type", "note", "event:x", "{}").returncode == 0
    [line] = tail.wait_lines(1)
    assert (line["source"], line["type"]) == ("cron", "note")


def test_json_lines(relayed: Cluster, tail: Tail) -> None:
    """Wrong lines are named, the others are published in order."""
    lines = [
        '{"topic": "event:a", "data": {"n": 1}}',
        "not json",
        "",
        '{"topic": "event:b"}',
        '{"topic": "Event:b", "data": {}}',
        '{"topic": "event:b", "data": {}, "typ": "x"}',
        '{"topic": 5, "data": {}}',
        '{"topic": "event:c", "data": {"n": NaN}}',
        "[1]",
        '{"topic": "event:d", "data": {"n": 2}, "type": "t", "username": "ümit"}',
    ]
    result = emit(relayed, stdin="\n".join(lines))
    assert result.returncode == 2
    assert result.stderr.splitlines() == [
        "event-emit: line 2: not JSON: Expecting value at character 1",
        "event-emit: line 4: data: is missing",
        "event-emit: line 5: topic: 'Event:b' is not a topic: expected kind:name or a kind, "
        "which begins with a-z, has 64 characters at most, and consists of a-z, 0-9, '_' and '-'",
        "event-emit: line 6: typ: unknown field, known are topic, data, type, username",
        "event-emit: line 7: topic: must be text",
        "event-emit: line 8: data.n: nan cannot be carried by JSON",
        'event-emit: line 9: must be an object with "topic" and "data"',
    ]
    first, second = tail.wait_lines(2)
    assert (first["topic"], first["data"]) == ("event:a", {"n": 1})
    assert (second["topic"], second["type"], second["username"]) == ("event:d", "t", "ümit")


def test_many_json_lines_all_arrive_in_order(relayed: Cluster, tail: Tail) -> None:
    count = 3000
    stdin = "".join(f'{{"topic": "event:n", "data": {{"n": {n}}}}}\n' for n in range(count))
    assert emit(relayed, stdin=stdin).returncode == 0
    lines = tail.wait_lines(count)
    assert [line["data"]["n"] for line in lines] == list(range(count))
    assert [line["offset"] for line in lines] == list(range(1, count + 1))


@pytest.fixture
def open_pipe(relayed: Cluster) -> Iterator[subprocess.Popen[str]]:
    """An `event-emit` that reads lines until its input is closed."""
    process = subprocess.Popen(
        python("-m", "emitters"),
        env=dict(os.environ) | relayed.env,
        stdin=subprocess.PIPE,
        text=True,
    )
    yield process
    process.kill()
    process.communicate()


def test_several_programs_publish_under_one_name_at_once(
    relayed: Cluster, tail: Tail, open_pipe: subprocess.Popen[str]
) -> None:
    """A pipe that stays open for days must not keep the others waiting."""
    assert open_pipe.stdin is not None
    open_pipe.stdin.write('{"topic": "event:piped", "data": {}}\n')
    open_pipe.stdin.flush()
    tail.wait_lines(1)
    assert emit(relayed, "event:x", "{}").returncode == 0
    assert open_pipe.poll() is None
    open_pipe.stdin.write('{"topic": "event:piped", "data": {}}\n')
    open_pipe.stdin.close()
    assert open_pipe.wait(10) == 0
    lines = tail.wait_lines(3)
    assert [line["topic"] for line in lines] == ["event:piped", "event:x", "event:piped"]
    assert {line["source"] for line in lines} == {"event-emit"}


@pytest.mark.parametrize("arguments", [["event:x", "{}"], ["publish"]])
def test_a_full_spool_is_one_line(cluster: Cluster, arguments: list[str]) -> None:
    """A relay that was away for days: as many events wait as the spool holds."""
    spool = cluster.directory / "spool"
    emitter = Emitter(
        name="event-emit", spool=spool, ingress=cluster.ingress, control=cluster.control
    )
    for size in (1_000_000, 10_000, 100, 0):
        with suppress(OutboxFull):
            while True:
                emitter.emit("event:x", {"padding": "x" * size})
    waiting = emitter.close(timeout=0)
    options = ["--spool", str(spool), "--timeout", "0.1"]
    stdin = '{"topic": "event:x", "data": {}}'
    result = emit(
        cluster, *arguments, *(["publish"] if not arguments else []), *options, stdin=stdin
    )
    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    assert len(result.stderr.splitlines()) == 1
    with closing(Spool(spool, None, default_name="x")) as kept:
        assert len(list(kept.kept)) == waiting
