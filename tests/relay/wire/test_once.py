"""Ids of events that are taken once."""

import pytest

from relay.wire.envelope import MAX_LABEL_CHARS
from relay.wire.errors import InvalidEnvelope
from relay.wire.once import is_once, once_digest, once_id


def test_one_key_has_one_id() -> None:
    assert once_id("order 42") == once_id("order 42") != once_id("order 43")
    assert once_id("") == "once:cae66941d9efbd404e4d88758ea67670"
    assert len(once_id("x" * 10_000)) <= MAX_LABEL_CHARS
    assert is_once(once_id("\ud800"))


def test_a_key_is_text() -> None:
    """A number, for instance of an order, would else end `emit` with an error of our own code."""
    with pytest.raises(InvalidEnvelope) as caught:
        once_id(42)  # type: ignore[arg-type]
    assert (caught.value.field, caught.value.problem) == ("once", "must be text, not int")


def test_other_ids_do_not_count_once() -> None:
    assert not is_once("8f3a00000001")
    assert not is_once("")


def test_a_digest_is_of_the_whole_id() -> None:
    assert once_digest("once:a") != once_digest("once:b")
    assert len(once_digest("once:a")) == 16
