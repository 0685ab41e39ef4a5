"""The lines of `event-relay config` and `event-edge config`: what holds, and from where."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from pydantic import SecretStr

from relay.shared.config_file import VARIABLE, ConfigFile, shown
from relay.shared.settings import JOURNALED_KINDS, Settings, source_of, variable_of
from relay.wire.grants import ALL_NAMES, Grant
from relay.wire.kinds import ADMIN_ROLE, BUILT_IN, Kind
from relay.wire.topics import PERSONAL_KINDS

NONE = "-"


def shown_config(settings: Settings, file: ConfigFile) -> Iterator[str]:
    """Yield the lines: the file, the kinds, and the settings. Secrets are not shown.

    Of the relay's settings, the journaled kinds say which kinds are streams.
    """
    where = f"none; name one with {VARIABLE}" if file.path is None else file.name
    yield f"file: {where}"
    yield ""
    yield from _table(
        ("kind", "mode", "kept", "subscribe", "publish", "from"), _kinds(settings, file)
    )
    yield ""
    yield from _table(("setting", "value", "from"), _settings(settings, file))


def _kinds(settings: Settings, file: ConfigFile) -> Iterator[tuple[str, ...]]:
    journaled = getattr(settings, JOURNALED_KINDS, None)
    kinds = file.kinds if journaled is None else file.kinds.with_streams(journaled)
    for each in kinds.listed:
        listed = file.kinds.get(each.name)
        if listed is None or listed.is_stream != each.is_stream:
            source = "variable"
        else:
            source = "default" if each in BUILT_IN else "file"
        mode = "stream" if each.is_stream else "live"
        subscribe = "its user" if each.name in PERSONAL_KINDS else _roles(each.subscribe)
        yield (each.name, mode, _kept(settings, each), subscribe, _roles(each.publish), source)


def _kept(settings: Settings, kind: Kind) -> str:
    """Return how much of a stream is kept, if the settings are the relay's or the file says it."""
    if not kind.is_stream:
        return "newest"
    seconds = kind.retention_s or getattr(settings, "retention_s", None)
    size = kind.retention_bytes or getattr(settings, "retention_bytes", None)
    if seconds is None and size is None:
        return "as the relay"
    return ", ".join(
        f"{value:g} {unit}" if unit == "s" else f"{value} {unit}"
        for value, unit in ((seconds, "s"), (size, "bytes"))
        if value is not None
    )


def _roles(grants: Iterable[Grant]) -> str:
    """Return the roles, each with the names of the topics that it may use unless it may use all."""
    shown = (
        each.role if each.names == ALL_NAMES else f"{each.role}:{each.names}" for each in grants
    )
    return ",".join(dict.fromkeys((*shown, ADMIN_ROLE)))


def _settings(settings: Settings, file: ConfigFile) -> Iterator[tuple[str, ...]]:
    cls = type(settings)
    for name in cls.model_fields:
        source = source_of(cls, name, file)
        yield variable_of(cls, name), _value(getattr(settings, name)), source


def _value(value: Any) -> str:
    if value is None or value == "":
        return NONE
    if isinstance(value, SecretStr):
        return "(secret)"
    if isinstance(value, tuple):
        return ",".join(value) or NONE
    return shown(str(value))


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    lines = [heads, *rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        padded = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        yield "  ".join(padded).rstrip()
