"""Ids are taken once, for a bounded time and number."""

import pytest

from relay.core import once
from relay.core.once import REMEMBERED_S, OnceIds

NOW_S = 1_790_000_000


def committed(ids: OnceIds, *names: str, at: int = NOW_S) -> list[bool]:
    taken = [ids.take(name, at) for name in names]
    ids.commit(ids.take_gathered(), at)
    return taken


def test_an_id_is_taken_once() -> None:
    ids = OnceIds()
    assert committed(ids, "once:a", "once:a", "once:b") == [True, False, True]
    assert committed(ids, "once:a", "once:b") == [False, False]


def test_an_event_that_waits_for_the_journal_counts() -> None:
    ids = OnceIds()
    assert ids.take("once:a", NOW_S)
    gathered = ids.take_gathered()
    assert not ids.take("once:a", NOW_S)
    assert ids.take_gathered() == []
    ids.commit(gathered, NOW_S)
    assert not ids.take("once:a", NOW_S)


def test_what_the_journal_did_not_take_may_come_again() -> None:
    ids = OnceIds()
    ids.take("once:a", NOW_S)
    ids.take_gathered()
    ids.take("once:b", NOW_S)
    ids.roll_back()
    assert len(ids) == 0
    assert committed(ids, "once:a", "once:b") == [True, True]


def test_the_journals_ids_are_known() -> None:
    ids = OnceIds()
    ids.take("once:a", NOW_S)
    (digest,) = ids.take_gathered()
    assert not OnceIds([(digest, NOW_S)]).take("once:a", NOW_S + 1)


def test_an_id_is_forgotten_after_a_day() -> None:
    ids = OnceIds()
    committed(ids, "once:a")
    assert committed(ids, "once:a", at=NOW_S + REMEMBERED_S - 1) == [False]
    assert committed(ids, "once:a", at=NOW_S + REMEMBERED_S) == [True]


def test_the_first_of_too_many_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(once, "MAX_IDS", 3)
    ids = OnceIds()
    committed(ids, *(f"once:{number}" for number in range(4)))
    assert len(ids) == 3
    assert committed(ids, "once:1", "once:0") == [False, True]


def test_a_live_value_is_taken_once_unless_its_emitter_sends_it_again() -> None:
    ids = OnceIds()
    assert ids.take_live("once:a", NOW_S, is_again=False)
    assert not ids.take_live("once:a", NOW_S, is_again=False)
    assert ids.take_live("once:a", NOW_S, is_again=True)
    assert ids.take_live("once:b", NOW_S, is_again=True)
    assert not ids.take_live("once:b", NOW_S, is_again=False)
    assert ids.take_gathered() == [], "the journal holds no live value"


def test_a_repeat_does_not_keep_the_id_of_a_live_value() -> None:
    ids = OnceIds()
    assert ids.take_live("once:a", NOW_S, is_again=False)
    assert not ids.take_live("once:a", NOW_S + REMEMBERED_S - 1, is_again=False)
    assert ids.take_live("once:a", NOW_S + REMEMBERED_S, is_again=False)
