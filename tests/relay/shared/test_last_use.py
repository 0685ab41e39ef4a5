"""Keys in the order of their last use, and the first of them that may go."""

from relay.shared.last_use import MAX_LOOKS, LastUse


def used(*keys: int) -> LastUse[int]:
    found: LastUse[int] = LastUse()
    for key in keys:
        found.use(key)
    return found


def test_the_key_that_was_used_longest_ago_comes_first() -> None:
    keys = used(1, 2, 3, 1)
    assert (list(keys), len(keys)) == ([2, 3, 1], 3)
    keys.discard(3)
    keys.discard(4)
    assert list(keys) == [2, 1]


def test_the_oldest_that_may_go_is_found_and_stays() -> None:
    keys = used(1, 2, 3)
    assert keys.oldest(lambda key: key > 1) == 2
    assert list(keys) == [2, 3, 1], "1 was passed over"
    assert keys.oldest(lambda key: key > 5) is None
    assert list(keys) == [2, 3, 1]
    assert used().oldest(bool) is None


def test_a_look_at_many_is_bounded_and_the_next_one_goes_on() -> None:
    keys = used(*range(3 * MAX_LOOKS))
    looked: list[int] = []

    def may_go(key: int) -> bool:
        looked.append(key)
        return key == MAX_LOOKS + 5

    assert keys.oldest(may_go) is None
    assert looked == list(range(MAX_LOOKS))
    assert keys.oldest(may_go) == MAX_LOOKS + 5
    assert len(keys) == 3 * MAX_LOOKS
