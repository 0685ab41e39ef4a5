"""`RelayTime`: the relay's time, by messages that come late."""

from hypothesis import given
from hypothesis import strategies as st

from edge.core.streams.relay_time import WINDOW_S, RelayTime

EPOCH_MS = 1_790_000_000_000


def test_the_fastest_message_counts() -> None:
    clock = RelayTime()
    assert clock.at(5.0) == 0
    clock.hear(EPOCH_MS, 10.0)
    assert clock.at(10.0) == EPOCH_MS
    assert clock.at(11.5) == EPOCH_MS + 1500
    clock.hear(EPOCH_MS + 1000, 11.3)
    assert clock.at(11.3) == EPOCH_MS + 1300, "the second message was slow"
    clock.hear(EPOCH_MS + 2000, 11.9)
    assert clock.at(12.0) == EPOCH_MS + 2100, "the third was faster than the first"


def test_a_clock_that_is_set_back_is_followed_after_two_windows() -> None:
    clock = RelayTime()
    for second in range(10):
        clock.hear(EPOCH_MS + second * 1000, float(second))
    for second in range(10, 10 + int(2 * WINDOW_S) + 1):
        clock.hear(EPOCH_MS - 5000 + second * 1000, float(second))
    assert clock.at(31.0) == EPOCH_MS - 5000 + 31_000


@given(st.lists(st.tuples(st.floats(0.01, 5.0), st.floats(0.0, 2.0)), min_size=1, max_size=50))
def test_it_is_never_ahead_and_late_by_the_least_delay_at_most(
    messages: list[tuple[float, float]],
) -> None:
    clock, sent, came = RelayTime(), 100.0, 0.0
    delays: list[tuple[float, float]] = []
    for pause, delay in messages:
        sent += pause
        came = max(came, sent + delay)
        clock.hear(int(EPOCH_MS + sent * 1000), came)
        delays.append((came, came - sent))
    truth = EPOCH_MS + came * 1000
    least = min(delay for at, delay in delays if at > came - WINDOW_S or at == came)
    assert truth - least * 1000 - 3 <= clock.at(came) <= truth + 1
