"""`SendQueue` against a list, its limits, and several queues within one `Budget`."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.core.websocket import send_queue
from edge.core.websocket.send_queue import Budget, SendQueue


class Slow:
    """A client that does not read, with a queue."""

    def __init__(self, budget: Budget, *sizes: int, max_bytes: int = 10**9) -> None:
        self._is_closed = False
        self.queue = SendQueue(self, budget, max_bytes, [b"x" * size for size in sizes])

    @property
    def queued_bytes(self) -> int:
        """As a client's."""
        return self.queue.queued_bytes

    def is_closed(self) -> bool:
        """Whether `close_too_slow` was called."""
        return self._is_closed

    def close_too_slow(self) -> None:
        """Remember, and empty the queue."""
        assert not self._is_closed
        self._is_closed = True
        self.queue.close()


def unlimited() -> SendQueue:
    return Slow(Budget(10**9)).queue


operations = st.lists(
    st.tuples(st.just("add"), st.binary(max_size=20))
    | st.tuples(st.sampled_from(["live:a", "live:b"]), st.binary(max_size=20))
    | st.tuples(st.just("take"), st.integers(0, 60))
    | st.tuples(st.just("held"), st.integers(0, 60))
    | st.tuples(st.just("close"), st.just(0)),
    max_size=40,
)


@given(operations)
def test_it_does_what_a_list_would(operations: list[tuple[str, int | bytes]]) -> None:
    budget = Budget(10**9)
    Slow(budget).queue.add(b"another client's")
    client = Slow(budget)
    queue = client.queue
    held = 0
    model: list[tuple[str | None, bytes]] = []
    for name, argument in operations:
        if isinstance(argument, bytes) and name == "add":
            queue.add(argument)
            model.append((None, argument))
        elif isinstance(argument, bytes):
            earlier = [item for item in model if item[0] == name]
            assert queue.add_live(name, argument) == bool(earlier)
            model = [item for item in model if item[0] != name] + [(name, argument)]
        elif isinstance(argument, int) and name == "take":
            taken = queue.take(argument)
            assert taken == [frame for _, frame in model[: len(taken)]]
            assert len(taken) <= 1 or sum(map(len, taken)) <= argument
            rest = model[len(taken) :]
            fits = bool(rest) and sum(map(len, taken)) + len(rest[0][1]) <= argument
            assert not fits, "more would have fitted"
            assert taken or not model
            model = rest
        elif isinstance(argument, int) and name == "held":
            queue.set_held(argument)
            held = argument
        else:
            queue.close()
            model, held = [], 0
        assert len(queue) == len(model)
        assert queue.queued_bytes == sum(len(frame) for _, frame in model) + held
        assert budget.used_bytes == queue.queued_bytes + len(b"another client's")


def test_of_a_live_topic_only_the_newest_waits_behind_what_came_before_it() -> None:
    queue = unlimited()
    queue.add_live("live:a", b"1")
    queue.add(b"event")
    assert queue.add_live("live:a", b"2")
    assert queue.take(100) == [b"event", b"2"]


def test_at_least_one_frame_is_taken_however_large() -> None:
    queue = unlimited()
    queue.add(b"x" * 100)
    queue.add(b"y")
    assert queue.take(1) == [b"x" * 100]


@pytest.mark.parametrize(("max_bytes", "sizes"), [(7, [3]), (8, [3, 5]), (9, [3, 5, 1])])
def test_frames_are_taken_while_they_fit_and_none_overtakes_a_larger_one(
    max_bytes: int, sizes: list[int]
) -> None:
    queue = Slow(Budget(10**9), 3, 5, 1).queue
    assert [len(frame) for frame in queue.take(max_bytes)] == sizes


def test_nothing_is_taken_from_an_empty_queue() -> None:
    assert unlimited().take(100) == []


@given(st.lists(st.lists(st.integers(0, 50), max_size=4), max_size=8), st.integers(0, 300))
def test_the_longest_queues_are_closed_until_the_others_are_within_the_budget(
    sizes: list[list[int]], max_bytes: int
) -> None:
    budget = Budget(max_bytes)
    clients = [Slow(budget, *each) for each in sizes]
    before = {client: client.queued_bytes for client in clients}
    assert budget.used_bytes == sum(before.values())
    budget.enforce()
    closed = [client for client in clients if client.is_closed()]
    stay = [client for client in clients if not client.is_closed()]
    assert budget.used_bytes == sum(client.queued_bytes for client in stay) <= max_bytes
    assert len(budget) == len(stay)
    if closed:
        least = min(before[client] for client in closed)
        assert all(client.queued_bytes <= least for client in stay)
        assert budget.used_bytes + least > max_bytes, "no more than had to be"
    budget.enforce()
    assert [client for client in clients if client.is_closed()] == closed


def test_a_queue_that_exceeds_its_bytes_closes_its_client() -> None:
    budget = Budget(10**9)
    client, other = Slow(budget, max_bytes=3 * 2**20), Slow(budget, 2**20)
    for _ in range(3):
        client.queue.add(b"x" * 2**20)
    assert not client.is_closed()
    client.queue.add(b"y")
    assert client.is_closed()
    assert not other.is_closed()
    assert (budget.used_bytes, len(budget)) == (2**20, 1)


def test_the_buffer_of_the_transport_counts() -> None:
    client = Slow(Budget(10**9), max_bytes=2**20)
    client.queue.set_held(2**20)
    client.queue.add(b"x")
    assert client.is_closed()


def test_a_queue_that_exceeds_its_count_closes_its_client(monkeypatch: pytest.MonkeyPatch) -> None:
    """Very small frames cost far more memory than their bytes."""
    monkeypatch.setattr(send_queue, "MAX_QUEUED_FRAMES", 3)
    client = Slow(Budget(10**9))
    for _ in range(2):
        client.queue.add(b"")
        client.queue.add_live("live:a", b"")
    assert not client.is_closed()
    client.queue.add_live("live:b", b"")
    assert client.is_closed()


def test_events_of_1_mib_close_the_longest_queues_of_a_full_budget() -> None:
    budget = Budget(8 * 2**20)
    clients = [Slow(budget) for _ in range(5)]
    event = b"x" * 2**20
    for round_number in range(20):
        for client in clients[: 1 + round_number % 5]:
            if not client.is_closed():
                client.queue.add(event)
            assert budget.used_bytes <= 8 * 2**20
    assert budget.used_bytes == sum(client.queued_bytes for client in clients)
    assert any(client.is_closed() for client in clients)
    assert not all(client.is_closed() for client in clients)
