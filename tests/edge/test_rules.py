"""`Rules`: which changes of `relay.toml` take effect at once."""

import asyncio
from pathlib import Path

import pytest

from edge.core.identity.access import Identity, KindAccess
from edge.rules import Rules
from relay.shared.watched_config import WatchedConfig
from relay.wire.grants import all_names
from relay.wire.kinds import Kind, Kinds
from relay.wire.topics import parse_pattern

BEFORE = Kinds.with_built_in((Kind("room", subscribe=all_names("user"), presence=True),))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "relay.toml"


def looked(rules: Rules) -> bool:
    """Look twice: a file is read when it was the same before."""
    return any(asyncio.run(rules.look()) for _ in range(2))


def test_new_rules_are_those_by_which_is_decided(file: Path) -> None:
    access = KindAccess(BEFORE)
    rules = Rules(BEFORE, access, WatchedConfig(file))
    ann = Identity("ann", "user", 0)
    file.write_text('[kinds.room]\nsubscribe = ["guest"]\n[kinds.hall]\nsubscribe = ["user"]')
    assert looked(rules)
    assert access.selectors(ann, parse_pattern("room:1")) == ()
    assert access.selectors(ann, parse_pattern("hall:1"))
    assert rules.kinds is access.kinds
    assert not looked(rules)


def test_presence_stays_as_it_was_at_the_start(file: Path) -> None:
    rules = Rules(BEFORE, KindAccess(BEFORE), WatchedConfig(file))
    file.write_text("[kinds.hall]\npresence = true")
    assert looked(rules)
    assert rules.kinds.presence == {"room"}


def test_a_file_with_the_same_rules_changes_nothing(file: Path) -> None:
    rules = Rules(BEFORE, KindAccess(BEFORE), WatchedConfig(file))
    file.write_text('# as before\n[kinds.room]\nsubscribe = ["user"]\npresence = true')
    assert not looked(rules)
    assert rules.kinds is BEFORE


def test_where_an_application_decides_the_kinds_are_listed_anew(file: Path) -> None:
    rules = Rules(BEFORE, None, WatchedConfig(file))
    file.write_text("[kinds.hall]")
    assert not looked(rules)
    assert "hall" in rules.kinds.names


def test_without_a_file_they_stay() -> None:
    rules = Rules(BEFORE, KindAccess(BEFORE))
    assert not looked(rules)
