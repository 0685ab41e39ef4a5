"""Freed memory is given back at intervals, where the C library can do so."""

import ctypes

import pytest

from relay.shared.freed_memory import INTERVAL_S, FreedMemory

HAS_TRIM = hasattr(ctypes.CDLL(None), "malloc_trim")


@pytest.mark.skipif(not HAS_TRIM, reason="another C library")
def test_it_is_given_back_at_intervals() -> None:
    memory = FreedMemory()
    assert [memory.tick(now) for now in (100.0, 100.1, 100.0 + INTERVAL_S)] == [True, False, True]


def test_without_the_function_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda name: object())
    assert not FreedMemory().tick(100.0)
