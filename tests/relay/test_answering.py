"""When the loop has to come back for requests. Their turns and shares: `test_server`."""

import math
import time
from types import SimpleNamespace
from typing import Any

from relay.answering import SHARE_OF_ALL, SHARE_OF_PEER, Answering
from relay.core.counters import RelayCounters


class Debtor:
    """A peer."""

    def __init__(self, paid_at: float) -> None:
        self.paid_at = paid_at


def test_without_a_debt_a_request_alone_tells() -> None:
    control: Any = SimpleNamespace(holds=True)
    assert Answering(control, no_service(), RelayCounters()).due_at() == math.inf
    assert not control.holds


def test_it_is_due_when_the_share_of_all_is_paid() -> None:
    control: Any = SimpleNamespace(holds=False)
    answering: Any = Answering(control, no_service(), RelayCounters())
    answering._paid_at = time.monotonic() + 100
    assert answering.due_at() == SHARE_OF_ALL.rests_until(answering._paid_at)
    assert control.holds


def test_it_is_due_when_a_replay_may_go_on() -> None:
    control: Any = SimpleNamespace(holds=False)
    answering: Any = Answering(control, no_service(), RelayCounters())
    for paid_at in (50.0, 40.0, 60.0):
        answering._replays[Debtor(paid_at)] = None
    assert answering.due_at() == SHARE_OF_PEER.rests_until(40.0)


def no_service() -> Any:
    """Is asked nothing."""
    return None
