"""The first change is told at once, the following ones once an interval, the last one always."""

from emitters.core.progress_pacing import Pacer


def test_the_first_change_is_due_at_once() -> None:
    pacer = Pacer(1.0)
    pacer.changed("a", now=10.0)
    assert pacer.next_due_at() == 10.0
    assert pacer.take_due(10.0) == ["a"]
    assert pacer.next_due_at() is None


def test_further_changes_wait_for_the_interval_together() -> None:
    pacer = Pacer(1.0)
    pacer.changed("a", now=10.0)
    pacer.take_due(10.0)
    for now in (10.1, 10.2, 10.9):
        pacer.changed("a", now)
        assert pacer.take_due(now) == []
    assert pacer.next_due_at() == 11.0
    assert pacer.take_due(11.0) == ["a"]
    assert pacer.take_due(12.0) == []


def test_keys_do_not_hold_each_other_up() -> None:
    pacer = Pacer(1.0)
    pacer.changed("a", now=10.0)
    pacer.take_due(10.0)
    pacer.changed("a", now=10.5)
    pacer.changed("b", now=10.5)
    assert pacer.take_due(10.5) == ["b"]


def test_what_is_forgotten_is_not_due() -> None:
    pacer = Pacer(1.0)
    pacer.changed("a", now=10.0)
    pacer.forget("a")
    assert pacer.next_due_at() is None


def test_the_next_time_is_that_of_the_earliest_key() -> None:
    pacer = Pacer(1.0)
    for key, now in (("late", 10.5), ("early", 10.0)):
        pacer.changed(key, now)
        pacer.take_due(now)
        pacer.changed(key, now)
    assert pacer.next_due_at() == 11.0


def test_a_forgotten_key_that_comes_back_is_due_at_once() -> None:
    pacer = Pacer(1.0)
    pacer.changed("a", now=10.0)
    pacer.take_due(10.0)
    pacer.forget("a")
    pacer.changed("a", now=10.1)
    assert pacer.take_due(10.1) == ["a"]
