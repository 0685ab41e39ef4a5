"""When the loop has to come back for requests. Their turns and shares: `test_server`."""

import math
import time
from types import SimpleNamespace
from typing import Any

import pytest

from relay import answering
from relay.answering import SHARE_OF_ALL, SHARE_OF_PEER, TURN_S, Answering
from relay.core.counters import RelayCounters


class Debtor:
    """A peer."""

    is_ended = False

    def __init__(self, paid_at: float) -> None:
        self.paid_at = paid_at


class Clock:
    """Stands still until it is moved."""

    now = 1000.0

    def monotonic(self) -> float:
        """As `time.monotonic`."""
        return self.now

    # All time is the processor's.
    thread_time = monotonic


def test_without_a_debt_a_request_alone_tells() -> None:
    control: Any = SimpleNamespace(holds=True)
    assert Answering(control, no_service(), RelayCounters()).due_at() == math.inf
    assert not control.holds


def test_it_is_due_when_the_share_of_all_is_paid() -> None:
    control: Any = SimpleNamespace(holds=False)
    found: Any = Answering(control, no_service(), RelayCounters())
    found._paid_at = time.monotonic() + 100
    assert found.due_at() == SHARE_OF_ALL.rests_until(found._paid_at)
    assert control.holds


def test_it_is_due_when_a_replay_may_go_on() -> None:
    control: Any = SimpleNamespace(holds=False)
    found: Any = Answering(control, no_service(), RelayCounters())
    for paid_at in (50.0, 40.0, 60.0):
        found._replays[Debtor(paid_at)] = None
    assert found.due_at() == SHARE_OF_PEER.rests_until(40.0)


def no_service() -> Any:
    """Is asked nothing."""
    return None


def test_replays_take_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, read = Clock(), []

    def go_on(name: str) -> None:
        """Read a piece, which is never the last one."""
        read.append(name)
        clock.now += 0.6 * TURN_S

    monkeypatch.setattr(answering, "time", clock)
    control: Any = SimpleNamespace(holds=False, receive=lambda **_: (), rest=lambda *_: None)
    service: Any = SimpleNamespace(go_on=go_on)
    found: Any = Answering(control, service, RelayCounters())
    for name in "ABCD":
        found._replays[Debtor(0.0)] = name
    for _ in range(4):
        found.serve()
    assert read == list("ABCDABCD")
