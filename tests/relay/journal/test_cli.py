"""The JSON lines of `event-relay journal tail`."""

import json
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from relay.journal import cli
from relay.journal.cli import as_message
from relay.journal.reader import JournaledEvent
from relay.wire.envelope import Envelope, pack_envelope
from tests.relay.journal.journals import NOW_MS, batch, event, open_journal


def test_an_event_is_shown_as_clients_see_it_with_its_emitters_number() -> None:
    task = JournaledEvent(1, NOW_MS + 10, event(10, topic="task:1"))
    assert as_message(task, "task") == {
        "type": "any",
        "topic": "task:1",
        "data": {"n": 10, "padding": ""},
        "username": "alice",
        "source": "manager-1",
        "emitted_at": NOW_MS,
        "offset": 1,
        "relayed_at": NOW_MS + 10,
        "sequence": 10,
    }


def test_a_plain_event_has_no_sequence_and_maybe_no_user() -> None:
    envelope = pack_envelope(Envelope("event", {}, None, "", 5, "id"), "event")
    plain = JournaledEvent(10, NOW_MS, (b"event:plain", b"", envelope))
    assert as_message(plain, "event").keys().isdisjoint({"sequence", "username"})


def test_as_many_events_are_shown_as_were_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also if more are journaled meanwhile."""
    newest = cli._newest
    with closing(open_journal(tmp_path / "journal.db")) as journal:
        journal.append(batch(1, 5))

        def then_more(*arguments: Any) -> tuple[int, int]:
            found = newest(*arguments)
            journal.append(batch(6, 3))
            return found

        monkeypatch.setattr(cli, "_newest", then_more)
        result = CliRunner().invoke(
            cli.journal, ["tail", "event", "-n", "2"], env={"RELAY_DATA_DIR": str(tmp_path)}
        )
    assert [json.loads(line)["offset"] for line in result.stdout.splitlines()] == [4, 5]
