"""The errors of the client."""

from edge.client.core.errors import Forbidden, RequestRefused, TokenRefused, refusal


def test_a_refusal_has_the_words_of_the_edge() -> None:
    error = refusal("invalid_topic", "Invalid topic: 'X'", "X")
    assert (type(error), str(error), error.code, error.topic) == (
        RequestRefused,
        "Invalid topic: 'X'",
        "invalid_topic",
        "X",
    )
    assert type(refusal("forbidden", "no", None)) is Forbidden


def test_a_refused_token_has_the_reason() -> None:
    error = TokenRefused(1008, "Invalid token")
    assert str(error) == "the edge closed the connection for good: 1008 Invalid token"
