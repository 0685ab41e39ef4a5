"""Which events live subscriptions have brought."""

from collections.abc import Mapping

import pytest

from edge.core.catch_up.coverage import (
    BEYOND_ALL,
    MAX_ENDED,
    NO_OFFSETS,
    Coverage,
    CoverageList,
    LiveCoverage,
)
from edge.core.streams.streams import Streams
from relay.wire.topics import Pattern, parse_pattern
from tests.edge.journal import record

ALL = parse_pattern("event:*")
A = parse_pattern("event:a")
EVERYTHING = Pattern("", exact=False)


class Table:
    """The live subscriptions of one connection to an edge whose stream `event` is at 10."""

    def __init__(self) -> None:
        self.streams = Streams()
        self.streams.synchronize(1, {"event": 10}, {"event": 1})
        self.covered = LiveCoverage(self.streams)
        self.live: set[Pattern] = set()

    def subscribe(self, pattern: Pattern, since: Mapping[str, int] = NO_OFFSETS) -> None:
        """Let `pattern`, which stands for itself, be live."""
        before = self.after(pattern) if pattern in self.live else NO_OFFSETS
        self.covered.add(pattern, (pattern,), since, before)
        self.live.add(pattern)

    def unsubscribe(self, pattern: Pattern) -> None:
        self.covered.remove(pattern)
        self.live.remove(pattern)

    def advance(self, count: int, stream: str = "event") -> None:
        """Forward `count` events."""
        found = self.streams.get(stream)
        assert found is not None
        for _ in range(count):
            found.history.append(record(found.history.head + 1, f"{stream}:a"))

    def after(self, pattern: Pattern) -> dict[str, int]:
        """The offsets after which `pattern` is covered."""
        return self.covered.after(pattern, (pattern,))


@pytest.fixture
def table() -> Table:
    return Table()


def test_a_subscription_covers_what_comes_after_it(table: Table) -> None:
    table.subscribe(ALL)
    table.advance(5)
    coverages = table.covered.coverages({ALL: (ALL,)})
    assert coverages.spans("event:a", "event") == ((10, BEYOND_ALL),)
    assert coverages.spans("secret:a", "secret") == ()


def test_subscribing_again_keeps_the_coverage(table: Table) -> None:
    table.subscribe(ALL)
    table.advance(5)
    table.subscribe(ALL)
    assert table.after(ALL) == {"event": 10}
    table.unsubscribe(ALL)
    table.subscribe(ALL)
    assert table.after(ALL) == {"event": 15}


def test_a_catch_up_extends_the_coverage_to_where_it_began(table: Table) -> None:
    table.subscribe(A, {"event": 3})
    assert table.after(A) == {"event": 3}


def test_in_a_new_epoch_a_live_subscription_covers_everything(table: Table) -> None:
    table.subscribe(A)
    table.streams.synchronize(2, {"event": 4}, {"event": 1})
    assert table.after(A) == {"event": 4}


def test_what_is_subscribed_first_in_a_new_epoch_covers_only_what_comes_after_it(
    table: Table,
) -> None:
    """Else a resume from before it would call events recovered that nobody has sent."""
    table.streams.synchronize(2, {"event": 0}, {"event": 1})
    table.advance(15)
    table.subscribe(A)
    assert table.after(A) == {"event": 15}


def test_a_stream_that_begins_later_is_covered_from_its_beginning(table: Table) -> None:
    table.subscribe(EVERYTHING)
    table.streams.synchronize(1, {"event": 10, "audit": 7}, {})
    table.advance(5, "audit")
    assert table.after(EVERYTHING) == {"event": 10, "audit": 7}


def test_an_ended_coverage_counts_up_to_its_end() -> None:
    coverages = CoverageList([Coverage(ALL, (ALL,), {"event": 10})])
    coverages.replace(ALL, {"event": 15}, None)
    coverages.replace(ALL, {"event": 99}, None)
    assert coverages.spans("event:a", "event") == ((10, 15),)
    assert len(coverages) == 1


def test_roles_that_change_again_and_again_leave_a_bounded_list() -> None:
    """A user's `*` has fewer selectors than an administrator's."""
    as_user, as_admin = (ALL,), (EVERYTHING,)
    coverages = CoverageList([Coverage(EVERYTHING, as_admin, {"event": 0, "audit": 0})])
    for offset in range(2, 2000, 2):
        heads = {"event": offset, "audit": offset}
        is_admin = offset % 4 == 0
        after = {"event": 0, "audit": offset} if is_admin else {"event": 0}
        live = Coverage(EVERYTHING, as_admin if is_admin else as_user, after)
        coverages.replace(EVERYTHING, heads, live)
    assert len(coverages) == MAX_ENDED + 1
    covered = {
        offset
        for after, until in coverages.spans("event:a", "event")
        for offset in range(after + 1, min(until, 2000))
    }
    assert covered == set(range(1, 2000)), "what was never interrupted stays exact"
    audit = coverages.spans("audit:a", "audit")
    assert any(after < 1 <= until for after, until in audit), "the oldest are joined, not dropped"


def test_the_two_oldest_are_joined_with_what_lies_between_them() -> None:
    coverages = CoverageList([Coverage(A, (A,), {"event": 0})])
    for offset in range(10, 10 * MAX_ENDED + 20, 10):
        live = Coverage(A, (A,), {"event": offset})
        coverages.replace(A, {"event": offset - 5}, live)
    spans = coverages.spans("event:a", "event")
    assert spans[:2] == ((0, 15), (20, 25))
    assert spans[-1] == (10 * MAX_ENDED + 10, BEYOND_ALL)


def test_of_joined_coverages_each_stream_keeps_its_first_begin_and_its_last_end() -> None:
    first = Coverage(EVERYTHING, (ALL,), {"event": 1, "audit": 2}, {"event": 5, "audit": 6})
    later = Coverage(EVERYTHING, (EVERYTHING,), {"event": 7, "x": 3}, {"event": 9, "x": 4})
    joined = first.joined(later)
    assert (joined.pattern, joined.selectors) == (EVERYTHING, (ALL, EVERYTHING))
    spans = {stream: joined.span(stream) for stream in ("event", "audit", "x")}
    assert spans == {"event": (1, 9), "audit": (2, 6), "x": (3, 4)}


def test_a_stream_that_ended_before_it_brought_anything_covers_nothing() -> None:
    assert Coverage(A, (A,), {"event": 0}, {}).span("event") == (0, 0)


def test_a_subscription_that_ended_covers_nothing_more(table: Table) -> None:
    table.subscribe(A, {"event": 3})
    table.unsubscribe(A)
    assert table.after(A) == {"event": 10}, "as one that was never there"


def test_subscriptions_that_ended_take_no_memory(table: Table) -> None:
    for number in range(100):
        pattern = parse_pattern(f"event:{number}")
        table.subscribe(pattern)
        table.unsubscribe(pattern)
    assert not table.covered._after
