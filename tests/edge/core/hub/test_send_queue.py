"""`SendQueue` against a list, and several within one `Budget`."""

from hypothesis import given
from hypothesis import strategies as st

from edge.core.hub.send_queue import Budget, SendQueue

operations = st.lists(
    st.tuples(st.just("add"), st.binary(max_size=20))
    | st.tuples(st.sampled_from(["live:a", "live:b"]), st.binary(max_size=20))
    | st.tuples(st.just("take"), st.integers(0, 60))
    | st.tuples(st.just("handed"), st.integers(0, 60))
    | st.tuples(st.just("clear"), st.just(0)),
    max_size=40,
)


@given(operations)
def test_it_does_what_a_list_would(operations: list[tuple[str, int | bytes]]) -> None:
    budget = Budget(100)
    other = SendQueue(budget)
    other.add(b"another client's")
    queue = SendQueue(budget)
    handed = 0
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
        elif isinstance(argument, int) and name == "handed":
            queue.set_handed(argument)
            handed = argument
        else:
            queue.clear()
            model, handed = [], 0
        assert len(queue) == len(model)
        assert queue.queued_bytes == sum(len(frame) for _, frame in model) + handed
        assert budget.used_bytes == queue.queued_bytes + len(b"another client's")


def test_of_a_live_topic_only_the_newest_waits_behind_what_came_before_it() -> None:
    queue = SendQueue(Budget(100))
    queue.add_live("live:a", b"1")
    queue.add(b"event")
    assert queue.add_live("live:a", b"2")
    assert queue.take(100) == [b"event", b"2"]


def test_at_least_one_frame_is_taken_however_large() -> None:
    queue = SendQueue(Budget(100))
    queue.add(b"x" * 100)
    queue.add(b"y")
    assert queue.take(1) == [b"x" * 100]


def test_nothing_is_taken_from_an_empty_queue() -> None:
    assert SendQueue(Budget(100)).take(100) == []


class Slow:
    """A client that does not read."""

    def __init__(self, budget: Budget, *sizes: int) -> None:
        self._budget = budget
        self._queue = SendQueue(budget)
        self.is_given_up = False
        budget.enter(self)
        for size in sizes:
            self._queue.add(b"x" * size)

    @property
    def queued_bytes(self) -> int:
        return self._queue.queued_bytes

    def give_up(self) -> None:
        assert not self.is_given_up
        self.is_given_up = True
        self._queue.clear()
        self._budget.leave(self)


@given(st.lists(st.lists(st.integers(0, 50), max_size=4), max_size=8), st.integers(0, 300))
def test_the_furthest_behind_are_given_up_until_the_others_are_within_the_budget(
    sizes: list[list[int]], max_bytes: int
) -> None:
    budget = Budget(max_bytes)
    clients = [Slow(budget, *each) for each in sizes]
    before = {client: client.queued_bytes for client in clients}
    assert budget.used_bytes == sum(before.values())
    budget.enforce()
    given_up = [client for client in clients if client.is_given_up]
    stay = [client for client in clients if not client.is_given_up]
    assert budget.used_bytes == sum(client.queued_bytes for client in stay) <= max_bytes
    assert len(budget) == len(stay)
    if given_up:
        least = min(before[client] for client in given_up)
        assert all(client.queued_bytes <= least for client in stay)
        assert budget.used_bytes + least > max_bytes, "no more than had to be"
    budget.enforce()
    assert [client for client in clients if client.is_given_up] == given_up
