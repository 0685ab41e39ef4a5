"""A stream is followed if a part of it may be served; addressed events may be of any kind."""

import pytest

from edge.core.hub.served import is_served


@pytest.mark.parametrize(
    ("kind", "served", "expected"),
    [
        ("event", ("",), True),
        ("event", ("event:a", "task:"), True),
        ("event", ("ev",), True),
        ("event", ("events:",), False),
        ("event", ("task:",), False),
        ("addressed", ("task:",), True),
    ],
)
def test_streams_are_followed_for_a_part(
    kind: str, served: tuple[str, ...], expected: bool
) -> None:
    assert is_served(kind, served) is expected
