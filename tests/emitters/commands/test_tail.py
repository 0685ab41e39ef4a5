"""`event-emit tail` prints the relay's events."""

import json
import signal
import subprocess
from collections.abc import Iterator

import pytest

from emitters.commands.session import say
from tests.emitters.commands.shell import Tail, emit
from tests.support.cluster import Cluster
from tests.support.processes import python, run_cli
from tests.support.waiting import wait_for


def test_tail_shows_only_its_prefix_and_ends_after_count(relayed: Cluster) -> None:
    tail = Tail(relayed, "event:b*", "--count", "1")
    emit(relayed, "event:a", "{}")
    emit(relayed, "event:b1", "{}")
    [line] = tail.wait_lines(1)
    assert line["topic"] == "event:b1"
    wait_for(lambda: tail.process.returncode is not None, "tail ends")
    assert tail.process.returncode == 0


def test_tail_without_prefix_shows_everything_but_the_relays_own_words(relayed: Cluster) -> None:
    tail = Tail(relayed)
    emit(relayed, "resource-monitor:lobby", '{"process_info": null}')
    emit(relayed, "event:x", "{}")
    assert {line["topic"] for line in tail.wait_lines(2)} == {"resource-monitor:lobby", "event:x"}


def test_tail_for_people_obeys_no_control_characters(relayed: Cluster) -> None:
    tail = Tail(relayed, "event:", "--pretty")
    emit(relayed, "--name", "evil\x1b[2J", "event:x", '{"text": "\\u009b2J", "name": "é"}')
    wait_for(lambda: '"name": "é"' in tail.output(), "tail prints the event")
    assert "event:x #1 from evil�[2J" in tail.output()
    assert "\x1b" not in tail.output()
    assert "\x9b" not in tail.output()


def test_lines_for_programs_have_no_control_characters_either(relayed: Cluster) -> None:
    tail = Tail(relayed, "event:")
    emit(
        relayed,
        "--name",
        "evil\x9b2J",
        "event:x",
        '{"text": "\\u009b2J\\u202e\\u007f", "name": "é"}',
    )
    [line] = tail.wait_lines(1)
    assert (line["source"], line["data"]["text"]) == ("evil\x9b2J", "\x9b2J\u202e\x7f")
    shown = tail.output().replace("\n", "")
    assert "é" in shown
    assert shown.isprintable()
    listed = run_cli("relay", "journal", "tail", "event", env=relayed.env)
    assert listed.stdout.removesuffix("\n").isprintable()
    assert json.loads(listed.stdout)["data"]["text"] == "\x9b2J\u202e\x7f"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_tail_ends_cleanly_on_a_signal(tail: Tail, number: signal.Signals) -> None:
    tail.process.signal(number)
    wait_for(lambda: tail.process.returncode is not None, "tail ends")
    assert tail.process.returncode == 0
    assert len(tail.process.output().splitlines()) == 1


@pytest.fixture
def piped_tail(relayed: Cluster) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        python("-m", "emitters", "tail", "--egress", relayed.egress),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    yield process
    process.kill()
    process.communicate()


def test_tail_ends_when_its_reader_does(piped_tail: subprocess.Popen[str]) -> None:
    """Without waiting for the next event, and without a complaint."""
    assert piped_tail.stdout is not None
    assert piped_tail.stderr is not None
    assert "watching" in piped_tail.stderr.readline()
    piped_tail.stdout.close()
    assert piped_tail.wait(5) == 0
    assert piped_tail.stderr.read() == ""


def test_a_line_for_people_has_no_words_of_an_edge_that_a_terminal_obeys(
    capsys: pytest.CaptureFixture[str],
) -> None:
    say("token: refused: \x1b[2J\x9b2J\nevent-emit: all is well")
    shown = capsys.readouterr().err
    assert shown == "event-emit: token: refused: \\x1b[2J\\x9b2J\\nevent-emit: all is well\n"
