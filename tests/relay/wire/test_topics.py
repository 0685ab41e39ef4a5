"""Topics and patterns: the vectors, the limits, and any input at all."""

from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from relay.wire.errors import InvalidTopic
from relay.wire.topics import (
    MAX_TOPIC_BYTES,
    Pattern,
    Topic,
    addressed_topic,
    decode_topic,
    parse_pattern,
    parse_topic,
    presence_subject,
    reserved_topic,
)
from tests.relay.wire.strategies import any_text, topics
from tests.relay.wire.vectors import case_name, vectors

VECTORS = vectors("topics")


@pytest.mark.parametrize("case", VECTORS["topics"]["valid"], ids=lambda case: case["topic"][:40])
def test_vector_is_a_topic_of_its_kind(case: dict[str, str]) -> None:
    wire = case.get("wire", case["topic"])
    expected = Topic(wire, case["kind"])
    assert parse_topic(case["topic"]) == expected
    assert decode_topic(wire.encode()) == expected
    assert expected.shown == case["topic"]


@pytest.mark.parametrize("text", VECTORS["topics"]["invalid"])
def test_vector_is_not_a_topic(text: str) -> None:
    with pytest.raises(InvalidTopic):
        parse_topic(text)
    if not text.endswith(":"):
        with pytest.raises(InvalidTopic):
            decode_topic(text.encode())


def test_on_the_wire_a_colon_follows_the_kind() -> None:
    with pytest.raises(InvalidTopic, match="a colon follows the kind"):
        decode_topic(b"app_log")


@pytest.mark.parametrize("frame", VECTORS["topics"]["invalid_hex"])
def test_vector_bytes_are_not_a_topic(frame: str) -> None:
    with pytest.raises(InvalidTopic):
        decode_topic(bytes.fromhex(frame))


@pytest.mark.parametrize(
    "case", VECTORS["patterns"]["valid"], ids=lambda case: case["pattern"][:40]
)
def test_vector_pattern_matches_as_it_says(case: dict[str, Any]) -> None:
    pattern = parse_pattern(case["pattern"])
    assert pattern.exact == case["exact"]
    assert str(pattern) == case["pattern"]
    matches, others = (
        [parse_topic(topic).text for topic in case[name]] for name in ("matches", "does_not_match")
    )
    assert [topic for topic in matches if not pattern.matches(topic)] == []
    assert [topic for topic in others if pattern.matches(topic)] == []


@pytest.mark.parametrize("text", VECTORS["patterns"]["invalid"], ids=case_name)
def test_vector_is_not_a_pattern(text: str) -> None:
    with pytest.raises(InvalidTopic):
        parse_pattern(text)


@pytest.mark.parametrize("letter", ["n", "ü", "日", "🎉"])
def test_a_topic_has_at_most_255_bytes_not_characters(letter: str) -> None:
    room = MAX_TOPIC_BYTES - len("event:")
    name = letter * (room // len(letter.encode()))
    name += "n" * (room - len(name.encode()))
    assert decode_topic(f"event:{name}".encode()).text == f"event:{name}"
    for parse in (parse_topic, lambda text: decode_topic(text.encode()), parse_pattern):
        with pytest.raises(InvalidTopic):
            parse(f"event:{name}n")


def test_a_pattern_starts_with_at_most_255_bytes() -> None:
    longest = f"event:{'n' * (MAX_TOPIC_BYTES - len('event:'))}"
    assert parse_pattern(f"{longest}*") == Pattern(longest, exact=False)
    with pytest.raises(InvalidTopic, match="bytes"):
        parse_pattern(f"{longest}n*")


@pytest.mark.parametrize("text", ["event:a*b", "event:*b", "event:a\n", "event:\x85b"])
def test_stars_and_control_characters_are_refused_everywhere(text: str) -> None:
    for refused in (text, f"{text}*"):
        with pytest.raises(InvalidTopic, match="allowed"):
            parse_pattern(refused)
    with pytest.raises(InvalidTopic, match="allowed"):
        parse_topic(text)


@pytest.mark.parametrize("name", ["a\u00a0b", "\u3000", "a\u200bb"])
def test_other_characters_that_do_not_print_are_allowed(name: str) -> None:
    assert parse_topic(f"event:{name}").text == f"event:{name}"
    assert parse_pattern(f"event:{name}*").prefix == f"event:{name}"


@given(any_text | topics)
@example("event:\ud800")
@example("\ud800:x")
@example("\ud800*")
@example("event:\ud800*")
def test_any_text_is_a_topic_or_invalid(text: str) -> None:
    try:
        topic = parse_topic(text)
    except InvalidTopic:
        return
    assert topic.shown == text
    assert topic.text.startswith(f"{topic.kind}:")
    assert 2 <= len(topic.text.encode()) <= MAX_TOPIC_BYTES
    assert "*" not in text


@given(st.binary(max_size=400) | any_text.map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_any_frame_is_a_topic_or_invalid(frame: bytes) -> None:
    try:
        topic = decode_topic(frame)
    except InvalidTopic:
        return
    assert topic.text.encode() == frame
    assert parse_topic(topic.shown) == topic


@given(any_text | any_text.map(lambda text: f"{text}*") | any_text.map("event:{}*".format))
def test_any_text_is_a_pattern_or_invalid(text: str) -> None:
    try:
        pattern = parse_pattern(text)
    except InvalidTopic:
        return
    assert str(pattern) == text
    assert pattern.exact == (not text.endswith("*"))
    text.encode()


@given(topics)
def test_a_topic_is_a_pattern_that_matches_itself_alone(topic: str) -> None:
    pattern, wire = parse_pattern(topic), parse_topic(topic).text
    assert pattern == Pattern(wire, exact=True)
    assert pattern.matches(wire)
    assert not pattern.matches(f"{wire}x")
    assert not pattern.matches(wire[:-1])


@given(topics, st.data())
def test_every_beginning_of_a_topic_with_a_star_matches_it(topic: str, data: st.DataObject) -> None:
    prefix = topic[: data.draw(st.integers(0, len(topic)))]
    assert parse_pattern(f"{prefix}*").matches(topic)


@given(topics, topics)
def test_a_prefix_matches_exactly_the_topics_that_start_with_it(topic: str, other: str) -> None:
    assert parse_pattern(f"{other}*").matches(topic) == topic.startswith(other)


@pytest.mark.parametrize(
    ("pattern", "kinds"),
    [
        ("event:a", ["event"]),
        ("event:a*", ["event"]),
        ("e*", ["event"]),
        ("event*", ["event"]),
        ("*", ["event", "task"]),
        ("events:a", []),
        ("events*", []),
        ("task:*", ["task"]),
    ],
)
def test_the_kinds_that_a_pattern_concerns(pattern: str, kinds: list[str]) -> None:
    assert [kind for kind in ("event", "task") if parse_pattern(pattern).concerns(kind)] == kinds


letters = st.text("ab:", max_size=4)


@given(letters, st.booleans(), st.text("ab", min_size=1, max_size=2), letters)
def test_a_pattern_concerns_the_kind_of_each_topic_that_it_matches(
    prefix: str, exact: bool, kind: str, rest: str
) -> None:
    pattern = Pattern(prefix, exact)
    if pattern.matches(f"{kind}:{rest}"):
        assert pattern.concerns(kind)


def test_edges_alone_use_their_kinds() -> None:
    state = reserved_topic("edge-state", "a1:3")
    assert (state, state.is_internal) == (Topic("edge-state:a1:3", "edge-state"), True)
    assert decode_topic(b"edge-state:a1:3") == state
    command = addressed_topic(reserved_topic("edge", "disconnect"))
    assert decode_topic(b"addressed:edge:disconnect") == command
    assert (command.subject, command.is_internal) == ("edge:disconnect", True)
    for topic in ("addressed:edger:x", "addressed:event:edge:x", "event:edge:x", "edge-states:x"):
        assert not decode_topic(topic.encode()).is_internal
    for frame in (b"edge:disconnect", b"presence:room:5", b"addressed:presence:room:5"):
        with pytest.raises(InvalidTopic, match="edges"):
            decode_topic(frame)


@pytest.mark.parametrize(
    ("pattern", "subject"),
    [
        ("presence:room:5", Pattern("room:5", exact=True)),
        ("presence:lobby", Pattern("lobby:", exact=True)),
        ("presence*", None),
        ("room:5", None),
        ("*", None),
    ],
)
def test_the_subject_of_presence(pattern: str, subject: Pattern | None) -> None:
    assert presence_subject(parse_pattern(pattern)) == subject
