"""`relay.toml`: settings, kinds of topics and ignored variables in one file.

`EVENT_RELAY_CONFIG` names the file; else it is `relay.toml` in the current directory, if there is
one. This module reads the file and checks all but the settings in `[relay]`, `[edge]` and
`[emitter]`, which `relay.shared.settings` checks for the program that they are for.
"""

import os
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from relay.shared.peer_table import PeerName, PeerTable, listed_peers
from relay.shared.settings_error import SettingsError
from relay.wire.calls import MAX_METHOD_CHARS, is_method
from relay.wire.grants import ALL_NAMES, MAX_NAMES, Grant, check_names
from relay.wire.kinds import (
    EVERYBODY,
    MAX_KINDS,
    MAX_RETENTION_BYTES,
    MAX_RETENTION_S,
    MAX_ROLE_CHARS,
    MAX_STREAMS,
    MIN_RETENTION_BYTES,
    Kind,
    Kinds,
    Method,
    is_role,
)
from relay.wire.peers import MAX_PATTERNS, MAX_PEERS, ListedPeer
from relay.wire.topics import ADDRESSED, MAX_KIND_CHARS, PERSONAL_KINDS, RESERVED_KINDS, is_kind

VARIABLE = "EVENT_RELAY_CONFIG"
FILE_NAME = "relay.toml"
MAX_FILE_BYTES = 1024 * 1024
MAX_SHOWN_CHARS = 80
MAX_LISTED_METHODS = 256


@dataclass(frozen=True, slots=True)
class ConfigFile:
    """The contents of the file; without arguments what holds without one."""

    path: Path | None = None
    sections: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """`relay`, `edge` and `emitter`: their settings as they are in the file, not checked."""
    kinds: Kinds = field(default_factory=Kinds)
    ignored_variables: frozenset[str] = frozenset()
    """Names in upper case of variables that belong to other software."""
    peers: tuple[ListedPeer, ...] = ()
    """Those who may connect to the relay; everybody if there are none."""

    @property
    def name(self) -> str:
        """The file, for messages."""
        return FILE_NAME if self.path is None else _printable(str(self.path))


def config_file_path() -> Path:
    """Return the place of the file, whether or not there is one."""
    return Path(os.environ.get(VARIABLE) or FILE_NAME)


def read_config_file() -> ConfigFile:
    """Return the contents of the file, or of none.

    Raises `SettingsError`, whose text is one line with the file, the key and the allowed values.
    """
    named = os.environ.get(VARIABLE)
    path = config_file_path()
    try:
        # Not by opening it: a process that may open no file has a better message to give.
        if not (named or os.path.lexists(path)):
            return ConfigFile()
        return read_config_at(path)
    except FileNotFoundError:
        if named:
            raise SettingsError(f"{VARIABLE}: there is no file {_printable(named)}") from None
        if path.is_symlink():
            # Into a volume that is not mounted, perhaps: without its kinds, streams would be live.
            raise SettingsError(f"{FILE_NAME}: is a link to a file that is not there") from None
        return ConfigFile()


def read_config_at(path: Path) -> ConfigFile:
    """Return the contents of the file at `path`.

    Raises `SettingsError`, and `FileNotFoundError` if there is none.
    """
    try:
        with path.open("rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
    except FileNotFoundError:
        raise
    except (OSError, ValueError) as error:
        raise SettingsError(f"{_printable(str(path))}: cannot be read: {error}") from None
    try:
        return _parse(path, content)
    except _WrongKey as error:
        raise SettingsError(f"{_printable(str(path))}: {error}") from None


def shown(text: str) -> str:
    """Return `text` as a part of one printable line."""
    return _printable(text if len(text) <= MAX_SHOWN_CHARS else f"{text[:MAX_SHOWN_CHARS]}…")


def _printable(text: str) -> str:
    return text if text.isprintable() else ascii(text)[1:-1]


def nearest(wrong: str, known: Iterable[str], similarity: float = 0.8) -> str:
    """Return the name in `known` that is most like `wrong`, "" if none is; 1 means equal."""
    return next(iter(get_close_matches(wrong, sorted(known), 1, similarity)), "")


def hint(wrong: str, known: Iterable[str]) -> str:
    """Return the end of a message about a wrong name: the nearest known one, else all of them."""
    names = sorted(known)
    # Less than of variables, which have a prefix in common.
    similar = nearest(wrong, names, 0.7)
    return f"did you mean {similar}?" if similar else f"known are {', '.join(names)}"


class _WrongKey(Exception):  # noqa: N818
    """The text names the key and the problem."""


def _check_role(role: str) -> str:
    if role != EVERYBODY and not is_role(role):
        raise ValueError(
            f'must be "{EVERYBODY}" or roles of 1 to {MAX_ROLE_CHARS} of a-z, 0-9, "_" and "-",'
            " a letter first"
        )
    return role


def _as_table(value: object) -> object:
    """A list of roles is short for a table that gives each of them all names."""
    if isinstance(value, list) and all(isinstance(each, str) for each in value):
        return dict.fromkeys(value, ALL_NAMES)
    if not isinstance(value, dict):
        raise ValueError("must be a list of roles, or a table of roles and names of topics")
    return value


def _as_list(value: object) -> object:
    return [value] if isinstance(value, str) else value


def _check_kind(kind: str) -> str:
    if not is_kind(kind):
        raise ValueError(
            f'a kind has 1 to {MAX_KIND_CHARS} of a-z, 0-9, "_" and "-", a letter first'
        )
    return kind


def _check_method(method: str) -> str:
    if not is_method(method):
        raise ValueError(
            f'a method has 1 to {MAX_METHOD_CHARS} of a-z, 0-9, "_", "." and "-", a letter first'
        )
    return method


_PROBLEMS = {
    "dict_type": "must be a table",
    "model_type": "must be a table",
    "list_type": "must be a list of texts",
    "too_long": f"at most {MAX_KINDS} kinds, {MAX_LISTED_METHODS} methods, {MAX_PEERS} peers, and"
    f" {MAX_PATTERNS} patterns in a list ({MAX_NAMES} of names) are allowed",
}
"""Messages in the words of TOML, by pydantic's type of the error."""
Role = Annotated[str, AfterValidator(_check_role)]
Roles = list[Role]
Names = Annotated[
    list[Annotated[str, AfterValidator(check_names)]],
    BeforeValidator(_as_list),
    Field(max_length=MAX_NAMES),
]
Grants = Annotated[dict[Role, Names], BeforeValidator(_as_table)]
Section = dict[str, Any]


class KindTable(BaseModel):
    """A table `[kinds.<kind>]`."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)

    mode: Literal["stream", "live"] | None = None
    retention_s: float | None = Field(default=None, gt=0, le=MAX_RETENTION_S)
    retention_bytes: int | None = Field(
        default=None, ge=MIN_RETENTION_BYTES, le=MAX_RETENTION_BYTES
    )
    subscribe: Grants | None = None
    publish: Grants | None = None
    presence: bool = False


class MethodTable(BaseModel):
    """A table `[methods.<method>]`."""

    model_config = ConfigDict(extra="forbid", strict=True)

    call: Roles = Field(default_factory=list)


class ConfigTables(BaseModel):
    """The whole file."""

    model_config = ConfigDict(extra="forbid", strict=True)

    ignore_variables: list[str] = Field(default_factory=list)
    relay: Section = Field(default_factory=dict)
    edge: Section = Field(default_factory=dict)
    emitter: Section = Field(default_factory=dict)
    kinds: dict[Annotated[str, AfterValidator(_check_kind)], KindTable] = Field(
        default_factory=dict, max_length=MAX_KINDS
    )
    methods: dict[Annotated[str, AfterValidator(_check_method)], MethodTable] = Field(
        default_factory=dict, max_length=MAX_LISTED_METHODS
    )
    peers: dict[PeerName, PeerTable] = Field(default_factory=dict, max_length=MAX_PEERS)


def _parse(path: Path, content: bytes) -> ConfigFile:
    if len(content) > MAX_FILE_BYTES:
        raise _WrongKey(f"has more than {MAX_FILE_BYTES} bytes")
    try:
        # Some editors begin a text with a mark of its encoding.
        read = tomllib.loads(content.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise _WrongKey(f"is not TOML: {shown(str(error))}") from None
    try:
        tables = ConfigTables.model_validate(read)
    except ValidationError as error:
        raise _WrongKey(_explain(error)) from None
    kinds = Kinds.with_built_in(
        (_kind(name, table) for name, table in tables.kinds.items()),
        (Method(name, tuple(dict.fromkeys(table.call))) for name, table in tables.methods.items()),
    )
    if len(kinds.streams) > MAX_STREAMS:
        raise _WrongKey(f"[kinds]: {len(kinds.streams)} are streams, the limit is {MAX_STREAMS}")
    sections = {"relay": tables.relay, "edge": tables.edge, "emitter": tables.emitter}
    ignored = frozenset(name.upper() for name in tables.ignore_variables)
    try:
        peers = listed_peers(tables.peers)
    except ValueError as error:
        raise _WrongKey(str(error)) from None
    return ConfigFile(path, sections, kinds, ignored, peers)


def _kind(name: str, table: KindTable) -> Kind:
    """Return the kind of `table`; what it leaves out is as without the table."""
    before = Kinds().get(name) or Kind(name)
    is_stream = before.is_stream if table.mode is None else table.mode == "stream"
    place = f"[kinds.{name}]"
    if name in RESERVED_KINDS - PERSONAL_KINDS:
        raise _WrongKey(f"{place}: Event Relay itself uses this kind; choose another name")
    if name in PERSONAL_KINDS and table.presence:
        raise _WrongKey(f"{place} presence: not allowed, nobody subscribes to it")
    if name in PERSONAL_KINDS and not is_stream:
        raise _WrongKey(f'{place} mode: must be "stream", for its events may not be lost')
    if name in PERSONAL_KINDS and table.subscribe is not None:
        raise _WrongKey(f"{place} subscribe: not allowed, its events reach their user alone")
    if name == ADDRESSED and table.publish is not None:
        raise _WrongKey(f"{place} publish: not allowed, the kind of the event's topic has it")
    for key in ("retention_s", "retention_bytes"):
        if getattr(table, key) is not None and not is_stream:
            raise _WrongKey(f'{place} {key}: is for streams; add mode = "stream"')
    return Kind(
        name,
        is_stream,
        before.subscribe if table.subscribe is None else _grants(table.subscribe),
        before.publish if table.publish is None else _grants(table.publish),
        table.retention_s,
        table.retention_bytes,
        table.presence,
    )


def _grants(table: Mapping[str, Iterable[str]]) -> tuple[Grant, ...]:
    found = (Grant(role, each) for role, names in table.items() for each in names)
    return tuple(dict.fromkeys(found))


def _explain(error: ValidationError) -> str:
    """Return the first error as one line: the key and the problem."""
    first = error.errors(include_url=False)[0]
    location = [str(part) for part in first["loc"]]
    tables: dict[str, type[BaseModel]] = {
        "kinds": KindTable,
        "methods": MethodTable,
        "peers": PeerTable,
    }
    if location[0] in tables and len(location) > 1:
        key = location[2] if len(location) > 2 and location[2] != "[key]" else ""
        place = f"[{location[0]}.{location[1]}] {key}".strip()
        known = list(tables[location[0]].model_fields)
    else:
        key = location[0]
        known = list(ConfigTables.model_fields)
        place = f"[{key}]" if isinstance(first["input"], dict) else key
    if first["type"] == "extra_forbidden":
        return f"{shown(place)}: there is no such {_noun(first['input'])}; {hint(key, known)}"
    problem = _PROBLEMS.get(first["type"]) or first["msg"].removeprefix("Value error, ")
    value = "" if isinstance(first["input"], dict) else f" (it is {shown(repr(first['input']))})"
    return f"{shown(place)}: {problem}{value}"


def _noun(value: object) -> str:
    return "section" if isinstance(value, dict) else "key"
