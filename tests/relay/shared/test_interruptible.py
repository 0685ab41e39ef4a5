"""A wait is cut into slices, between which Python looks for signals."""

import pytest

from relay.shared.interruptible import poll_in_slices


def test_the_first_true_result_ends_the_wait() -> None:
    results = iter([0, 0, 7])
    assert poll_in_slices(lambda _: next(results), 60) == 7


def test_no_slice_is_long(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    slices: list[int] = []

    def poll(milliseconds: int) -> bool:
        nonlocal now
        slices.append(milliseconds)
        now += milliseconds / 1000
        return False

    monkeypatch.setattr("relay.shared.interruptible.time.monotonic", lambda: now)
    assert not poll_in_slices(poll, 1.0)
    assert max(slices) <= 251
    assert 1.0 <= now < 1.01


def test_without_time_the_socket_is_looked_at_once() -> None:
    calls: list[int] = []

    def poll(milliseconds: int) -> bool:
        calls.append(milliseconds)
        return False

    assert not poll_in_slices(poll, 0)
    assert calls == [1]
