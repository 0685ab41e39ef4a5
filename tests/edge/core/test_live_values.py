"""The newest value of each live topic."""

from hypothesis import given
from hypothesis import strategies as st

from edge.core.live_values import LiveValue, LiveValues


def value(relayed_at: int, frame: bytes = b"") -> LiveValue:
    return LiveValue(relayed_at, None, frame)


def known(values: LiveValues) -> dict[str, LiveValue]:
    return dict(values.matching(lambda _: True))


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 5))))
def test_the_newest_value_is_kept_and_of_equals_the_later(offers: list[tuple[str, int]]) -> None:
    values = LiveValues()
    model: dict[str, LiveValue] = {}
    for number, (topic, relayed_at) in enumerate(offers):
        offered = value(relayed_at, b"%d" % number)
        newer = topic not in model or model[topic].relayed_at <= relayed_at
        assert values.offer(topic, offered) == newer
        if newer:
            model[topic] = offered
    assert known(values) == model
    assert len(values) == len(model)
    assert all(values.has(topic) == (topic in model) for topic in "abc")


def test_values_are_found_by_topic() -> None:
    values = LiveValues()
    for topic in ("live:a", "live:b", "other:a"):
        values.offer(topic, value(1))
    assert [topic for topic, _ in values.matching(lambda t: t.startswith("live:"))] == [
        "live:a",
        "live:b",
    ]


def test_values_that_nobody_wants_are_forgotten() -> None:
    values = LiveValues()
    values.offer("a", value(9))
    values.offer("b", value(9))
    values.keep_only(lambda topic: topic == "b")
    assert list(known(values)) == ["b"]
    assert values.offer("a", value(1)), "an older value is news again"
