"""A key that comes with two different bodies is noticed."""

import pytest

from edge.core import idempotency
from edge.core.idempotency import REMEMBERED_S, RequestKeys


def test_the_same_request_may_come_again() -> None:
    keys = RequestKeys()
    assert [keys.is_of_another("alice", "k", "body", now) for now in (0.0, 1.0)] == [False, False]


def test_another_body_is_noticed_and_the_first_one_counts() -> None:
    keys = RequestKeys()
    keys.is_of_another("alice", "k", "body", 0.0)
    assert keys.is_of_another("alice", "k", "other", 1.0)
    assert not keys.is_of_another("alice", "k", "body", 2.0)


def test_keys_of_others_do_not_matter() -> None:
    keys = RequestKeys()
    keys.is_of_another("alice", "k", "body", 0.0)
    assert not keys.is_of_another("bob", "k", "other", 1.0)
    assert not keys.is_of_another("alice", "l", "other", 1.0)


def test_a_key_is_forgotten_after_a_day() -> None:
    keys = RequestKeys()
    keys.is_of_another("alice", "k", "body", 0.0)
    assert keys.is_of_another("alice", "k", "other", REMEMBERED_S - 1)
    assert not keys.is_of_another("alice", "k", "other", REMEMBERED_S)
    assert keys.is_of_another("alice", "k", "body", REMEMBERED_S + 1)


def test_the_first_of_too_many_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(idempotency, "MAX_KEYS", 2)
    keys = RequestKeys()
    for key in ("a", "b", "c"):
        keys.is_of_another("alice", key, "body", 0.0)
    assert keys.is_of_another("alice", "b", "other", 0.0)
    assert not keys.is_of_another("alice", "a", "other", 0.0)


def test_the_key_of_a_refused_request_is_free() -> None:
    keys = RequestKeys()
    keys.is_of_another("alice", "k", "wrong", 0.0)
    keys.forget("alice", "k")
    keys.forget("alice", "never came")
    assert not keys.is_of_another("alice", "k", "right", 1.0)
    assert keys.is_of_another("alice", "k", "wrong", 2.0)
