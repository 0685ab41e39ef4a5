"""The msgpack envelope that carries one event (protocol section 3).

Payloads are limited to values that JSON can carry as well, so that every event that the relay
accepts can be delivered to every browser.
"""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import msgpack

from relay.wire.errors import InvalidEnvelope, TooDeep, TooLarge
from relay.wire.topics import PERSONAL_KINDS, RESOURCE_MONITOR, TASK
from relay.wire.usernames import normal_username

MAX_ENVELOPE_BYTES = 1024 * 1024
MAX_DEPTH = 32
MAX_LABEL_CHARS = 255
"""For `type`, `username`, `source` and `id`."""

MAX_SAFE_INT = 2**53 - 1
"""The greatest integer, of either sign, that JavaScript tells from its neighbours."""
_SAFE_INTS = (-MAX_SAFE_INT, MAX_SAFE_INT)
_WIRE_INTS = (-(2**63), 2**64 - 1)
"""The integers of msgpack. Earlier versions let them pass, so that journals may hold them."""
_MAX_TIME_MS = 2**53
_TEXT = frozenset({str})
_PLAIN = frozenset({str, int, bool, type(None)})


UNFINISHED_STATUSES = ("in_progress", "queued", "running")
FINISHED_STATUSES = ("success", "error", "completed", "failed", "cancelled")
"""The statuses of a task, in the words of both vocabularies. A task may have others, which are not
its last ones."""


class Envelope(NamedTuple):
    """The content of one event. With `username`, only this user's connections receive it.

    Of an envelope that was read, the name is normal (`usernames.normal_username`).
    """

    type: str
    data: Any
    """Any JSON value; of a task, a map."""
    username: str | None
    source: str
    emitted_at: int
    """Unix time in milliseconds."""
    id: str
    while_connected: bool = False
    """Of a task's state: it holds only while its emitter is connected to the relay."""


def is_finished_task(envelope: Envelope) -> bool:
    """Return whether a task's update is its last one, by its status."""
    # A tuple, because a stranger's status may be a list, which is in no set.
    return envelope.data.get("status") in FINISHED_STATUSES


def default_type(kind: str) -> str:
    """Return the `type` of events of `kind` whose emitter named none."""
    return {TASK: "task_update", RESOURCE_MONITOR: "resource_update"}.get(kind, "event")


def pack_envelope(envelope: Envelope, kind: str) -> bytes:
    """Return the msgpack bytes of `envelope`, whose topic is of `kind`.

    Raises `InvalidEnvelope` with the field that msgpack or JSON cannot carry, `TooDeep` or
    `TooLarge`.
    """
    fields: dict[str, Any] = {
        "type": envelope.type,
        "data": envelope.data,
        "source": envelope.source,
        "emitted_at": envelope.emitted_at,
        "id": envelope.id,
    }
    if envelope.username is not None:
        fields["username"] = envelope.username
    if envelope.while_connected:
        fields["while_connected"] = True
    if not (_is_plainly_right(fields, kind) and _has_safe_integers(envelope.data)):
        _check_fields(fields, kind, _SAFE_INTS)
    try:
        packed: bytes = msgpack.packb(fields)
    except UnicodeEncodeError as error:
        raise InvalidEnvelope("data", f"text must be encodable as UTF-8: {error}") from None
    if len(packed) > MAX_ENVELOPE_BYTES:
        raise TooLarge("data", f"{len(packed)} bytes, the limit is {MAX_ENVELOPE_BYTES}")
    return packed


def unpack_envelope(payload: bytes, kind: str) -> Envelope:
    """Return the complete envelope in `payload`, whose topic is of `kind`.

    Raises `InvalidEnvelope`, `TooDeep` or `TooLarge`. For plain publishers, which may leave fields
    out, there is `complete_envelope`.
    """
    fields = _unpack_map(payload)
    if not _is_plainly_right(fields, kind):
        _check_fields(fields, kind, _WIRE_INTS)
    return _from_fields(fields)


def complete_envelope(payload: bytes, kind: str, *, now_ms: int, new_id: str) -> Envelope:
    """Return the envelope for the `payload` of a plain publisher.

    A value that is no map, or one without both `type` and `data`, is itself the data. A missing
    `source`, `emitted_at` or `id` becomes `""`, `now_ms` or `new_id`. Raises the same errors as
    `unpack_envelope`.
    """
    fields = _unpack(payload)
    if not (isinstance(fields, dict) and "type" in fields and "data" in fields):
        fields = {"type": default_type(kind), "data": fields}
    fields = {"source": "", "emitted_at": now_ms, "id": new_id} | fields
    _check_fields(fields, kind, _SAFE_INTS)
    return _from_fields(fields)


def _from_fields(fields: dict[str, Any]) -> Envelope:
    username = fields.get("username")
    return Envelope(
        fields["type"],
        fields["data"],
        username if username is None else normal_username(username),
        fields["source"],
        fields["emitted_at"],
        fields["id"],
        fields.get("while_connected") is True,
    )


def _unpack_map(payload: bytes) -> dict[str, Any]:
    fields = _unpack(payload)
    if not isinstance(fields, dict):
        raise InvalidEnvelope("envelope", f"must be a map, not {_name(fields)}")
    return fields


def _unpack(payload: bytes) -> Any:
    if len(payload) > MAX_ENVELOPE_BYTES:
        raise TooLarge("envelope", f"{len(payload)} bytes, the limit is {MAX_ENVELOPE_BYTES}")
    try:
        return msgpack.unpackb(payload, ext_hook=_refuse_extension)
    except InvalidEnvelope:
        raise
    except msgpack.StackError:
        raise TooDeep("envelope", f"nested deeper than {MAX_DEPTH}") from None
    except (ValueError, TypeError, OverflowError, msgpack.UnpackException) as error:
        raise InvalidEnvelope(
            "envelope", f"not msgpack ({error or type(error).__name__})"
        ) from None


def _refuse_extension(code: int, _data: bytes) -> Any:
    raise InvalidEnvelope("envelope", f"msgpack extension type {code} is not supported")


def _is_plainly_right(fields: dict[str, Any], kind: str) -> bool:
    """Return True for most valid envelopes, after a few cheap checks; False decides nothing.

    It saves a fifth of unpacking. `_check_fields` decides about all other envelopes.
    """
    try:
        label, source, event_id = fields["type"], fields["source"], fields["id"]
        emitted_at, data = fields["emitted_at"], fields["data"]
    except KeyError:
        return False
    # A missing username is right except for personal events, which the length check refuses as "".
    username = fields.get("username", "" if kind in PERSONAL_KINDS else "anybody")
    return (
        type(label) is type(source) is type(event_id) is type(username) is str
        and 0 < len(label) <= MAX_LABEL_CHARS
        and len(source) <= MAX_LABEL_CHARS
        and 0 < len(event_id) <= MAX_LABEL_CHARS
        and 0 < len(username) <= MAX_LABEL_CHARS
        # Other text may contain surrogates, which UTF-8 cannot encode.
        and (label + source + event_id + username).isascii()
        and type(emitted_at) is int
        and 0 <= emitted_at <= _MAX_TIME_MS
        and type(data) is dict
        and _TEXT.issuperset(map(type, data))
        and _PLAIN.issuperset(map(type, data.values()))
    )


def _has_safe_integers(data: dict[str, Any]) -> bool:
    """Return False if a value of `data` is too great an integer. It has plain values only."""
    return all(
        type(value) is not int or -MAX_SAFE_INT <= value <= MAX_SAFE_INT for value in data.values()
    )


def _check_fields(fields: dict[str, Any], kind: str, ints: tuple[int, int]) -> None:
    for name in ("type", "source", "id"):
        if name not in fields:
            raise InvalidEnvelope(name, "is missing")
        _check_label(name, fields[name], may_be_empty=name == "source")
    username = fields.get("username")
    if username is not None:
        _check_label("username", username, may_be_empty=False)
    elif kind in PERSONAL_KINDS:
        raise InvalidEnvelope("username", f"an event of kind {kind!r} is addressed to one user")
    emitted_at = fields.get("emitted_at")
    # Not `isinstance`: True is an instance of int.
    if type(emitted_at) is not int or not 0 <= emitted_at <= _MAX_TIME_MS:
        raise InvalidEnvelope("emitted_at", "must be Unix time in milliseconds")
    if "data" not in fields:
        raise InvalidEnvelope("data", "is missing")
    data = fields["data"]
    if kind == TASK and not isinstance(data, dict):
        raise InvalidEnvelope("data", f"of a task must be a map, not {_name(data)}")
    check_value(data, "data", ints=ints)


def _check_label(field: str, value: object, *, may_be_empty: bool) -> None:
    if not isinstance(value, str):
        raise InvalidEnvelope(field, f"must be text, not {_name(value)}")
    if len(value) > MAX_LABEL_CHARS or not (value or may_be_empty):
        least = 0 if may_be_empty else 1
        raise InvalidEnvelope(field, f"must have {least} to {MAX_LABEL_CHARS} characters")
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise InvalidEnvelope(field, f"must be encodable as UTF-8: {error}") from None


def check_value(
    value: object, path: str, depth: int = 1, *, ints: tuple[int, int] = _SAFE_INTS
) -> None:
    """Raise `InvalidEnvelope` or `TooDeep` unless both msgpack and JSON can carry `value`.

    Allowed are None, bool, int (within `ints`), finite float, str, lists, tuples, and maps with str
    keys. The error names the path of the first other value.
    """
    if value is None or isinstance(value, str | bool):
        return
    if isinstance(value, int):
        if not ints[0] <= value <= ints[1]:
            raise InvalidEnvelope(
                path,
                "an integer beyond 2**53 - 1, of either sign, does not reach browsers unharmed:"
                " carry it as text",
            )
    elif isinstance(value, float):
        if not math.isfinite(value):
            raise InvalidEnvelope(path, f"{value} cannot be carried by JSON")
    elif isinstance(value, dict):
        _check_depth(path, depth)
        for key, item in value.items():
            if not isinstance(key, str):
                raise InvalidEnvelope(path, f"the key {_shown(key)} must be text")
            if not _is_plain(item, ints):
                check_value(item, f"{path}.{key}", depth + 1, ints=ints)
    elif isinstance(value, list | tuple):
        _check_depth(path, depth)
        for index, item in enumerate(value):
            if not _is_plain(item, ints):
                check_value(item, f"{path}[{index}]", depth + 1, ints=ints)
    else:
        hint = " (use a dict)" if isinstance(value, Mapping) else ""
        raise InvalidEnvelope(path, f"a value of type {_name(value)} cannot be carried{hint}")


def _is_plain(value: object, ints: tuple[int, int]) -> bool:
    """Return whether `value` is a valid leaf. Most values are, and need no path for an error."""
    kind = type(value)
    if kind is int:
        return ints[0] <= value <= ints[1]  # type: ignore[operator]
    return kind is str or kind is bool or value is None


def _check_depth(path: str, depth: int) -> None:
    if depth > MAX_DEPTH:
        raise TooDeep(path.split(".", 1)[0], f"nested deeper than {MAX_DEPTH}")


def _name(value: object) -> str:
    return "nothing" if value is None else type(value).__name__


def _shown(value: object) -> str:
    shown = repr(value)
    return shown if len(shown) <= 40 else f"{shown[:40]}…"
