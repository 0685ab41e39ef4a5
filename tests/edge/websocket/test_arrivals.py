"""Which connections an address has, and which of them are refused."""

import asyncio
import gc
from collections.abc import Callable
from typing import Any

import pytest

from edge.config import EdgeSettings
from edge.core.identity.request_head import RequestHead
from edge.core.stats import EdgeStats
from edge.websocket.arrivals import Arrivals

PROXY, STRANGER = "192.0.2.1", "198.51.100.7"


class Guard:
    """Has as much room as the test says."""

    def __init__(self) -> None:
        self.is_full = False
        self.refused: list[object] = []
        self.cut: list[object] = []

    def has_room(self, _: object) -> bool:
        """As the test says."""
        return not self.is_full

    def refuse(self, transport: object) -> None:
        """Remember."""
        self.refused.append(transport)

    def cut_soon(self, transport: object) -> None:
        """Remember."""
        self.cut.append(transport)


class Expecting:
    """Notes that its deadline has passed, or that it has given way."""

    def __init__(self, late: list[str]) -> None:
        self._late = late

    def give_up_if_late(self) -> None:
        """As a connection."""
        self._late.append("late")

    def give_way(self) -> None:
        """As a connection."""
        self._late.append("gave way")


def on_stage(scenario: Callable[[Arrivals, Guard], None], **settings: Any) -> EdgeStats:
    stats = EdgeStats()

    async def play() -> None:
        guard: Any = Guard()
        chosen = EdgeSettings(trusted_proxies=(PROXY,), **settings)
        arrivals = Arrivals(asyncio.get_running_loop(), chosen, stats, guard)
        scenario(arrivals, guard)
        arrivals.close()

    asyncio.run(play())
    return stats


def head(**headers: str) -> RequestHead:
    request = RequestHead()
    request.headers = {name.replace("_", "-"): value for name, value in headers.items()}
    return request


def test_an_address_with_too_many_connections_is_refused_until_one_has_left() -> None:
    def scenario(arrivals: Arrivals, guard: Guard) -> None:
        transport: Any = object()
        first, second, third = (arrivals.enter(transport, STRANGER) for _ in range(3))
        assert (first.refusal, second.refusal) == (None, None)
        assert third.refusal is not None
        assert third.refusal.code == 4009
        assert guard.cut == [transport]
        third.left()
        assert arrivals.enter(transport, STRANGER).refusal is not None, "it was not counted"
        first.left()
        first.left()
        assert arrivals.enter(transport, STRANGER).refusal is None
        assert arrivals.enter(transport, STRANGER).refusal is not None, "it left once"

    stats = on_stage(scenario, max_connections_per_address=2)
    assert stats.arrivals.address_refusals == {"connections": 3}


def test_an_address_that_connects_too_fast_is_told_when_to_come_back() -> None:
    def scenario(arrivals: Arrivals, guard: Guard) -> None:
        transport: Any = object()
        for _ in range(3):
            arrivals.enter(transport, STRANGER).left()
        refusal = arrivals.enter(transport, STRANGER).refusal
        assert refusal is not None
        assert (refusal.code, refusal.reason[-12:]) == (4013, "retry in 5 s")

    stats = on_stage(scenario, connection_burst=3, connections_per_s=0.001)
    assert stats.arrivals.address_refusals == {"rate": 1}


@pytest.mark.parametrize("peer", [PROXY, None])
def test_a_proxy_has_any_number_and_the_address_that_it_tells_counts(peer: str | None) -> None:
    def scenario(arrivals: Arrivals, guard: Guard) -> None:
        transport: Any = object()
        assert {arrivals.enter(transport, peer).refusal for _ in range(10)} == {None}
        assert {arrivals.of_request(head(), peer).refusal for _ in range(10)} == {None}
        told = head(x_forwarded_for=STRANGER)
        first = arrivals.of_request(told, peer)
        assert (first.refusal, first.is_counted) == (None, True)
        assert arrivals.of_request(told, peer).refusal is not None
        first.left()
        assert arrivals.of_request(told, peer).refusal is None

    on_stage(scenario, max_connections_per_address=1)


def test_an_address_that_a_stranger_tells_does_not_count() -> None:
    def scenario(arrivals: Arrivals, guard: Guard) -> None:
        told = head(x_forwarded_for="203.0.113.9")
        assert arrivals.of_request(told, STRANGER).refusal is None
        assert arrivals.of_request(told, STRANGER).refusal is not None
        assert arrivals.of_address("203.0.113.9").refusal is None

    on_stage(scenario, max_connections_per_address=1)


def test_without_descriptors_a_newcomer_is_refused_unless_somebody_gives_way() -> None:
    def scenario(arrivals: Arrivals, guard: Guard) -> None:
        transport: Any = object()
        guard.is_full = True
        refused = arrivals.enter(transport, None)
        assert refused.refusal is not None
        assert guard.refused == [transport]
        refused.hold(Expecting([]))
        assert len(arrivals.strangers) == 0, "it has no room to give"
        late: list[str] = []
        guard.is_full = False
        arrivals.enter(transport, None).hold(silent := Expecting(late))
        guard.is_full = True
        # As if it had waited for longer.
        [key] = arrivals.strangers._strangers
        arrivals.strangers._strangers[key] = arrivals.strangers._strangers[key]._replace(since=0)
        assert arrivals.enter(transport, None).refusal is None
        assert silent is key
        assert late == ["gave way"]

    stats = on_stage(scenario)
    assert stats.arrivals.gave_way == 1


def test_a_deadline_does_not_keep_a_connection_that_has_ended() -> None:
    def scenario(arrivals: Arrivals, guard: Guard) -> None:
        late: list[str] = []
        present, gone = Expecting(late), Expecting(late)
        arrivals.expect(present.give_up_if_late)
        arrivals.expect(gone.give_up_if_late)
        del gone
        gc.collect()
        while len(arrivals.deadlines):
            arrivals.deadlines._items.popleft()[1]()
        assert late == ["late"]

    on_stage(scenario)


def test_connections_that_come_too_fast_are_refused_whoever_makes_them() -> None:
    def scenario(arrivals: Arrivals, guard: Guard) -> None:
        transport: Any = object()
        places = (STRANGER, PROXY, "203.0.113.1", None)
        found = [arrivals.enter(transport, each) for each in places]
        assert [each.refusal for each in found[:3]] == [None] * 3
        refused = found[3].refusal
        assert refused is not None
        assert (refused.code, refused.reason) == (4013, "too many new connections, retry in 1 s")
        assert guard.cut == [transport]

    stats = on_stage(scenario, accepts_per_s=0.001, accept_burst=3)
    assert stats.arrivals.accepts_refused == 1
    assert not stats.arrivals.address_refusals
