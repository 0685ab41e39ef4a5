"""Every wire error has a stable, distinct reason under which it is counted."""

from relay.wire.errors import (
    InvalidEnvelope,
    InvalidFrame,
    InvalidTopic,
    TooDeep,
    TooLarge,
    WireError,
)


def test_reasons_are_stable_because_metrics_carry_them() -> None:
    reasons: dict[type[WireError], str] = {
        WireError: "malformed",
        InvalidTopic: "invalid_topic",
        InvalidEnvelope: "invalid_envelope",
        TooLarge: "too_large",
        TooDeep: "too_deep",
        InvalidFrame: "invalid_frame",
    }
    assert {error: error.reason for error in reasons} == reasons


def test_an_envelope_error_says_field_and_problem() -> None:
    error = InvalidEnvelope("data.players[2]", "must be text")
    assert (error.field, error.problem) == ("data.players[2]", "must be text")
    assert str(error) == "data.players[2]: must be text"
