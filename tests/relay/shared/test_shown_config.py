"""The lines of the `config` commands."""

from collections.abc import Callable
from pathlib import Path

import pytest

from edge.config import EdgeSettings
from relay.config import RelaySettings
from relay.shared.config_file import read_config_file
from relay.shared.settings import Settings, load
from relay.shared.shown_config import shown_config

SECRET = "s" * 32
Lines = Callable[[type[Settings]], dict[str, list[str]]]


@pytest.fixture
def lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lines:
    """Returns the cells of the lines by the first cell, in a directory without a file."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("EVENT_RELAY_CONFIG", raising=False)

    def lines(settings: type[Settings]) -> dict[str, list[str]]:
        shown = "\n".join(shown_config(load(settings), read_config_file()))
        assert SECRET not in shown
        return {
            first: rest
            for first, *rest in (line.split("  ") for line in shown.splitlines() if line)
            for rest in [[cell.strip() for cell in rest if cell]]
        }

    return lines


def test_without_a_file_everything_is_a_default(lines: Lines) -> None:
    shown = lines(RelaySettings)
    assert "file: none; name one with EVENT_RELAY_CONFIG" in shown
    kept = "604800 s, 268435456 bytes"
    assert shown["event"] == ["stream", kept, "user,admin", "admin", "default"]
    assert shown["task"] == ["stream", kept, "its user", "admin", "default"]
    assert shown["resource-monitor"] == ["live", "newest", "user,admin", "admin", "default"]
    assert shown["RELAY_HEARTBEAT_S"] == ["1.0", "default"]
    assert shown["RELAY_JOURNALED_KINDS"] == ["event,task,addressed,revocation", "default"]


def test_each_line_says_where_it_comes_from(lines: Lines, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("relay.toml").write_text(
        """
        ignore_variables = ["EDGE_PORT"]
        [edge]
        port = 9000
        workers = 3
        users_file = "users.json"
        """
        f"jwt_secret = '{SECRET}'"
        """
        [kinds.order]
        mode = "stream"
        retention_s = 100
        subscribe = ["shop", "admin"]
        publish = { "*" = "of:{username}:*" }
        [kinds.event]
        mode = "live"
        """
    )
    Path("relay.toml").chmod(0o600)
    monkeypatch.setenv("EDGE_PORT", "tcp://10.0.0.1:8000")
    monkeypatch.setenv("EDGE_WORKERS", "2")
    edge = lines(EdgeSettings)
    assert "file: relay.toml" in edge
    assert edge["order"] == ["stream", "100 s", "shop,admin", "*:of:{username}:*,admin", "file"]
    assert edge["event"] == ["live", "newest", "user,admin", "admin", "file"]
    assert edge["task"] == ["stream", "as the relay", "its user", "admin", "default"]
    assert edge["EDGE_PORT"] == ["9000", "file"]
    assert edge["EDGE_WORKERS"] == ["2", "variable"]
    assert edge["EDGE_USERS_FILE"] == ["users.json", "file"]
    assert edge["EDGE_JWT_SECRET"] == ["(secret)", "file"]
    assert edge["EDGE_COOKIE_NAME"] == ["-", "default"]
    assert lines(RelaySettings)["RELAY_JOURNALED_KINDS"] == [
        "task,addressed,order,revocation",
        "file",
    ]
    monkeypatch.setenv("RELAY_JOURNALED_KINDS", "task,event,audit")
    relay = lines(RelaySettings)
    assert relay["order"][0] == "live"
    assert relay["event"][0] == "stream"
    assert relay["audit"][::4] == ["stream", "variable"]
    assert {relay[kind][-1] for kind in ("order", "event", "audit")} == {"variable"}
