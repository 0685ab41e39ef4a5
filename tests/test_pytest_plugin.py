"""The pytest plugin, in a pytest of its own: what it gives to the tests of an application."""

import subprocess
from pathlib import Path

import pytest

from tests.support.processes import python

pytestmark = pytest.mark.process

GOOD = """
import os
import subprocess
import sys
import urllib.request

import pytest
from emitters import Emitter, OutboxFull


@pytest.fixture(scope="session")
def event_relay_settings():
    return {"RELAY_JOURNALED_KINDS": "event,task,order"}


def test_an_application_finds_the_relay(event_relay, emitted):
    with Emitter(name="shop") as emitter:
        emitter.emit("event:first", {"n": 1})
        emitter.emit("event:second", {"n": 2})
    assert emitted("event:second") == {"n": 2}
    assert emitted("event:first") == {"n": 1}
    emitted.none("event:*", within=0)


def test_earlier_tests_leave_nothing(emitted):
    emitted.none("*", within=0)
    assert emitted.all == []


def test_another_process_emits_for_one_user(event_relay, emitted):
    script = (
        "from emitters import Emitter\\n"
        "with Emitter(name='other') as emitter: emitter.emit('notice', 5, username='alice')"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
    event = emitted.event("notice")
    assert (event.topic, event.data) == ("notice", 5)
    assert (event.username, event.source) == ("alice", "other")


def test_kinds_are_as_the_settings_say(event_relay, emitted):
    event_relay.emitter().emit("order:5", {"paid": True})
    assert emitted("order:*") == {"paid": True}


def test_a_live_value_counts_as_watched(event_relay, emitted):
    event_relay.emitter().emit("gauge:load", 0.5)
    assert emitted("gauge:load") == 0.5


def test_a_browser_gets_events(event_relay, connect_client):
    client = connect_client("alice")
    client.subscribe("event:*")
    event_relay.emitter().emit("event:x", {"n": 1})
    assert client.receive_on("event:x")["data"] == {"n": 1}


def test_the_api_takes_a_token(event_relay):
    request = urllib.request.Request(
        event_relay.url + "/api/topics",
        headers={"Authorization": "Bearer " + event_relay.token("alice")},
    )
    assert urllib.request.urlopen(request).status == 200
    assert os.environ["EMITTER_RELAY_CONTROL"] == event_relay.env["EMITTER_RELAY_CONTROL"]
"""
FAILING = """
def test_none_comes(event_relay, emitted):
    event_relay.emitter().emit("event:other", {})
    emitted("event:other")
    emitted("event:wanted", timeout=0.1)


def test_one_comes_that_should_not(event_relay, emitted):
    event_relay.emitter().emit("event:other", {"n": 1})
    emitted.none("event:*", within=20)
"""
WRONG_SETTING = """
import pytest

@pytest.fixture(scope="session")
def event_relay_settings():
    return {"EDGE_WORKERS": "none"}

def test_it(event_relay):
    pass
"""
LIGHT = """
import sys

def test_nothing_is_loaded_without_a_fixture():
    assert "zmq" not in sys.modules
    assert "emitters" not in sys.modules
"""


def run(directory: Path, text: str) -> "subprocess.CompletedProcess[str]":
    """Run a file of tests as a user does: the plugin is found by its entry point."""
    (directory / "test_shop.py").write_text(text)
    # A folder of the application with the name of one of ours.
    (directory / "edge").mkdir()
    return subprocess.run(
        python("-P", "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_shop.py"),
        cwd=directory,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


def test_the_fixtures(tmp_path: Path) -> None:
    ran = run(tmp_path, GOOD)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "7 passed" in ran.stdout


def test_failures_say_what_there_was(tmp_path: Path) -> None:
    ran = run(tmp_path, FAILING)
    assert "2 failed" in ran.stdout
    assert "no event on event:wanted within 0.1 s; there were event:other" in ran.stdout
    assert "unexpected event on event:other: {'n': 1}" in ran.stdout


def test_a_wrong_setting_is_shown(tmp_path: Path) -> None:
    ran = run(tmp_path, WRONG_SETTING)
    assert "1 error" in ran.stdout
    assert "event-edge: EDGE_WORKERS: " in ran.stdout


def test_a_run_without_the_fixtures_loads_nothing(tmp_path: Path) -> None:
    ran = run(tmp_path, LIGHT)
    assert "1 passed" in ran.stdout, ran.stdout
