"""Revocations: which tokens are no longer valid, as edges tell each other (protocol section 6).

A revocation is an event of the stream `revocation`. Times are Unix time in milliseconds, by the
relay's clock.
"""

from typing import Any, NamedTuple

from relay.wire.envelope import MAX_SAFE_INT
from relay.wire.errors import InvalidEnvelope

USER, TOKEN, ALL = "user", "token", "all"
"""The names of the topics: tokens of one user, one token, all tokens."""
MAX_TOKEN_ID_CHARS = 255
_MAX_NAME_CHARS = 255
_MAX_TIME_MS = MAX_SAFE_INT


class Revocation(NamedTuple):
    """Tokens that are no longer valid: of one user, one by its id, or all.

    Of a user and of all, those that were issued until `before`.
    """

    before: int
    username: str | None = None
    """Of one token, the user whose it is, if that is known."""
    token_id: str | None = None
    until: int | None = None
    """When the one token expires, if that is known."""

    @property
    def scope(self) -> str:
        """The name of the topic."""
        if self.token_id is not None:
            return TOKEN
        return ALL if self.username is None else USER


def revocation_data(
    *,
    username: str | None = None,
    token_id: str | None = None,
    before: int | None = None,
    until: int | None = None,
) -> dict[str, Any]:
    """Return the data of the event. Without `before`, the time relayed counts.

    An `until` that no message can carry is left out: the token is remembered for ever.
    """
    if until is not None and until > _MAX_TIME_MS:
        until = None
    fields = {"username": username, "token_id": token_id, "before": before, "until": until}
    return {name: value for name, value in fields.items() if value is not None}


def read_revocation(scope: str, data: Any, relayed_at: int) -> Revocation:
    """Return the revocation in an event on the topic `scope`. Raises `InvalidEnvelope`.

    Nobody revokes tokens of the future: `before` counts at most up to the time relayed.
    """
    if not isinstance(data, dict):
        raise InvalidEnvelope("data", "of a revocation must be a map")
    before = min(_time(data, "before", relayed_at), relayed_at)
    username = _text(data, "username", _MAX_NAME_CHARS)
    match scope:
        case "token":
            token_id = _text(data, "token_id", MAX_TOKEN_ID_CHARS)
            if token_id is None:
                raise InvalidEnvelope("data.token_id", "is missing")
            until = _time(data, "until", 0) if "until" in data else None
            return Revocation(before, username, token_id, until)
        case "user":
            if username is None:
                raise InvalidEnvelope("data.username", "is missing")
            return Revocation(before, username)
        case "all":
            return Revocation(before)
    raise InvalidEnvelope("topic", "names no revocation that is known")


def _text(data: dict[str, Any], name: str, max_chars: int) -> str | None:
    value = data.get(name)
    if value is not None and not (isinstance(value, str) and 1 <= len(value) <= max_chars):
        raise InvalidEnvelope(f"data.{name}", f"must be text of 1 to {max_chars} characters")
    return value


def _time(data: dict[str, Any], name: str, default: int) -> int:
    value = data.get(name, default)
    # Not `isinstance`: True is an instance of int.
    if type(value) is not int or not 0 <= value <= _MAX_TIME_MS:
        raise InvalidEnvelope(f"data.{name}", "must be Unix time in milliseconds")
    return value
