"""The newest value of each key, bounded by count and bytes."""

from hypothesis import given
from hypothesis import strategies as st

from relay.shared.newest import Newest


@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.integers(0, 6), st.booleans())))
def test_it_is_a_bounded_map_in_the_order_of_updates(
    steps: list[tuple[str, int, bool]],
) -> None:
    newest: Newest[str, bytes] = Newest(3, 10, len)
    model: dict[str, bytes] = {}
    for key, size, is_kept in steps:
        model.pop(key, None)
        if not is_kept:
            newest.forget(key)
            continue
        model[key] = bytes(size)
        given_up = []
        while len(model) > 3 or sum(map(len, model.values())) > 10:
            given_up.append(next(iter(model)))
            del model[given_up[-1]]
        assert newest.keep(key, bytes(size)) == given_up
        assert list(newest.items()) == list(model.items())
    assert len(newest) == len(model)
    assert all((key in newest) == (key in model) for key in "abcdef")
