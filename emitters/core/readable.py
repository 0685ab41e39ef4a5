"""Text from any Python object, also from one whose methods raise or lie.

The functions raise nothing that the object raises, except `STOPS`.
"""

from datetime import date, time

STOPS = (KeyboardInterrupt, SystemExit)
"""Never swallowed: a signal handler raises them at any line, to end the process."""

MAX_TEXT_BYTES = 64 * 1024
CUT_OFF = "…"

_NAME_OF_TYPE = type.__dict__["__name__"]


def type_name(value: object) -> str:
    """Return the name of the type of `value`, whatever its metaclass says."""
    name: str = _NAME_OF_TYPE.__get__(type(value))
    return name


def carry_text(text: object, max_bytes: int = MAX_TEXT_BYTES) -> str:
    """Return `str(text)` as valid UTF-8, cut after `max_bytes`; dates as in ISO 8601.

    An object without a readable text becomes a mark with the name of its type.
    """
    try:
        # Plain `str`s: a subclass may have methods of its own, and `isoformat` return anything.
        return _cut(str.__str__(_shown(text)), max_bytes)
    except STOPS:
        raise
    except BaseException:  # noqa: BLE001 - a stranger's __str__ may raise anything
        return _cut(f"({type_name(text)} without a readable text)", max_bytes)


def _shown(text: object) -> str:
    if issubclass(type(text), str):
        return text  # type: ignore[return-value]
    return text.isoformat() if isinstance(text, date | time) else str(text)


def _cut(text: str, max_bytes: int) -> str:
    encoded = text[:max_bytes].encode(errors="backslashreplace")
    if len(encoded) <= max_bytes and len(text) <= max_bytes:
        return encoded.decode()
    return encoded[:max_bytes].decode(errors="ignore") + CUT_OFF
