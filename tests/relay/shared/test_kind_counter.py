"""Publishers may choose any kinds: the number of names is bounded, and the sums stay true."""

from relay.shared.kind_counter import MAX_OTHER_KINDS, OTHER_KINDS, KindCounter


def test_kinds_beyond_the_bound_are_counted_together() -> None:
    counter = KindCounter()
    for round_number in range(1, 4):
        for number in range(MAX_OTHER_KINDS + 1000):
            counter[f"kind{number}"] += 2
        assert len(counter) == MAX_OTHER_KINDS + 1
        assert counter["kind0"] == counter[f"kind{MAX_OTHER_KINDS - 1}"] == 2 * round_number
        assert counter[OTHER_KINDS] == 2000 * round_number
        assert counter.total() == 2 * round_number * (MAX_OTHER_KINDS + 1000)


def test_listed_kinds_keep_their_names_however_many_others_came_before() -> None:
    counter = KindCounter()
    for number in range(MAX_OTHER_KINDS + 5):
        counter[f"kind{number}"] += 1
    counter.list_kinds(["event", "order_paid"])
    counter["event"] += 7
    counter["order_paid"] += 8
    counter["one_more"] += 9
    assert (counter["event"], counter["order_paid"], counter[OTHER_KINDS]) == (7, 8, 14)


def test_a_question_about_a_kind_makes_no_name() -> None:
    counter = KindCounter()
    assert counter["unknown"] == 0
    assert dict(counter) == {}
