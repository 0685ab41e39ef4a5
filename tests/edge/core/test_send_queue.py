"""`SendQueue` against a list."""

from hypothesis import given
from hypothesis import strategies as st

from edge.core.send_queue import SendQueue

operations = st.lists(
    st.tuples(st.just("add"), st.binary(max_size=20))
    | st.tuples(st.sampled_from(["live:a", "live:b"]), st.binary(max_size=20))
    | st.tuples(st.just("take"), st.integers(0, 60))
    | st.tuples(st.just("clear"), st.just(0)),
    max_size=40,
)


@given(operations)
def test_it_does_what_a_list_would(operations: list[tuple[str, int | bytes]]) -> None:
    queue = SendQueue()
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
        else:
            queue.clear()
            model = []
        assert len(queue) == len(model)
        assert queue.queued_bytes == sum(len(frame) for _, frame in model)


def test_of_a_live_topic_only_the_newest_waits_behind_what_came_before_it() -> None:
    queue = SendQueue()
    queue.add_live("live:a", b"1")
    queue.add(b"event")
    assert queue.add_live("live:a", b"2")
    assert queue.take(100) == [b"event", b"2"]


def test_at_least_one_frame_is_taken_however_large() -> None:
    queue = SendQueue()
    queue.add(b"x" * 100)
    queue.add(b"y")
    assert queue.take(1) == [b"x" * 100]


def test_nothing_is_taken_from_an_empty_queue() -> None:
    assert SendQueue().take(100) == []
