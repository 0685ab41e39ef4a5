"""Reads settings from the environment and from `relay.toml`, and refuses wrong ones with one line.

Keyword overrides win over variables, and variables over the file. A settings class is frozen, reads
its sources once, and is built in a program's `__main__`.
"""

import contextlib
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, NoReturn, TypeVar, get_args

from pydantic import AfterValidator, BeforeValidator, SecretStr, ValidationError, ValidationInfo
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    InitSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from relay.shared.addresses import parse_peer_address, parse_zmq_address
from relay.shared.config_file import ConfigFile, hint, read_config_file, shown
from relay.shared.private_modes import lax_mode
from relay.shared.settings_error import SettingsError as SettingsError
from relay.shared.socket_owner import own_uid, stranger_at
from relay.shared.unknown_variables import unknown_variables
from relay.wire.kinds import MAX_STREAMS
from relay.wire.topics import ADDRESSED, INTERNAL_STREAMS, RESERVED_KINDS, TASK, is_kind

S = TypeVar("S", bound="Settings")

EXIT_WRONG_SETTING = 2
MAX_BYTES = 2**44
MAX_COUNT = 1_000_000_000
"""Upper bounds of settings, far above any use: each number has two bounds."""
JOURNALED_KINDS = "journaled_kinds"
"""The setting that the file has in its tables of kinds."""
_NUMBERS = {bool: "true or false", int: "a whole number", float: "a number"}
"""Types that a text in the file may not have, although a variable's text has them."""


def settings_config(prefix: str) -> SettingsConfigDict:
    """Return the configuration of a settings class whose variables start with `prefix`."""
    return SettingsConfigDict(
        env_prefix=prefix,
        frozen=True,
        extra="forbid",
        env_ignore_empty=True,
        allow_inf_nan=False,
    )


def default_data_dir(variable: str) -> Path:
    """Return `~/.event-relay`. Raises `SettingsError` for a user without a home directory."""
    try:
        return Path.home() / ".event-relay"
    except RuntimeError:
        raise SettingsError(
            f"{variable}: must be set, because this user has no home directory"
        ) from None


class Settings(BaseSettings):
    """The base class of all settings classes."""

    others_of_section: ClassVar[tuple[str, ...]] = ()
    """Settings with the same prefix, and in the same section of the file, of other classes."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Return the sources: overrides, then variables, then the file."""
        file = read_config_file()
        assert isinstance(env_settings, EnvSettingsSource)
        env_settings.env_vars = {
            name: value
            for name, value in env_settings.env_vars.items()
            if name.upper() not in file.ignored_variables
        }
        return init_settings, env_settings, InitSettingsSource(cls, settings_in_file(cls, file))


def variable_of(settings: type[Settings], name: str) -> str:
    """Return the variable of the setting `name`."""
    return f"{settings.model_config.get('env_prefix', '')}{name.upper()}"


def section_of(settings: type[Settings]) -> str:
    """Return the section of the file that has the settings of `settings`."""
    return settings.model_config.get("env_prefix", "").rstrip("_").lower()


def settings_in_file(settings: type[Settings], file: ConfigFile) -> dict[str, Any]:
    """Return the settings that `file` has for `settings`. Raises `SettingsError`.

    The journaled kinds are those that its tables of kinds make streams.
    """
    section = section_of(settings)
    known = (set(settings.model_fields) | set(settings.others_of_section)) - {JOURNALED_KINDS}
    found: dict[str, Any] = {}
    for name, value in file.sections.get(section, {}).items():
        place = f"{file.name}: [{section}] {shown(name)}"
        if name == JOURNALED_KINDS and name in settings.model_fields:
            raise SettingsError(f'{place}: instead, add mode = "stream" to [kinds.<kind>]')
        if name not in known:
            raise SettingsError(f"{place}: there is no such setting; {hint(name, known)}")
        if name in settings.model_fields:
            wanted = settings.model_fields[name].annotation
            if wanted in _NUMBERS and not _is_exactly(value, wanted):
                expected, given = _NUMBERS[wanted], shown(repr(value))
                raise SettingsError(f"{place}: must be {expected} (it is {given})")
            if _is_secret(settings, name) and file.path and (advice := lax_mode(file.path)):
                raise SettingsError(f"{place}: {advice}")
            found[name] = value
    if file.path is not None and JOURNALED_KINDS in settings.model_fields:
        found[JOURNALED_KINDS] = file.kinds.streams
    return found


def load(settings: type[S], **overrides: Any) -> S:
    """Return `settings` from overrides, variables and the file. Raises `SettingsError`.

    An override that is None counts as not given. A variable that begins like those of `settings`
    and is none is an error, too: it is a misspelt one.
    """
    given = {name: value for name, value in overrides.items() if value is not None}
    file = read_config_file()
    known = [variable_of(settings, name) for name in _names_of_section(settings)]
    for line in unknown_variables(
        settings.model_config.get("env_prefix", ""), known, os.environ, file.ignored_variables
    ):
        raise SettingsError(line)
    try:
        return settings(**given)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        name = str(first["loc"][0]) if first["loc"] else ""
        place = variable_of(settings, name)
        if name not in given and source_of(settings, name, file) == "file":
            place = f"{file.name}: [{section_of(settings)}] {name}"
        problem = first["msg"].removeprefix("Value error, ")
        # The error line ends up in logs.
        value = "" if _is_secret(settings, name) else f" (it is {str(first['input'])[:80]!r})"
        raise SettingsError(f"{place}: {problem}{value}") from None


def load_for(program: str, settings: type[S], **overrides: Any) -> S:
    """Return the settings of `program`; an error ends it with one line and exit code 2."""
    try:
        return load(settings, **overrides)
    except SettingsError as error:
        refuse(program, error)


def source_of(
    settings: type[Settings], name: str, file: ConfigFile
) -> Literal["variable", "file", "default"]:
    """Return where the setting `name` comes from, without an override."""
    variable = variable_of(settings, name)
    if variable not in file.ignored_variables and variable in _variables_with_values():
        return "variable"
    return "file" if name in settings_in_file(settings, file) else "default"


def _variables_with_values() -> set[str]:
    return {name.upper() for name, value in os.environ.items() if value}


def _names_of_section(settings: type[Settings]) -> Iterable[str]:
    return (*settings.model_fields, *settings.others_of_section)


def _is_exactly(value: object, wanted: object) -> bool:
    return type(value) is wanted or (wanted is float and type(value) is int)


def refuse(program: str, problem: object) -> NoReturn:
    """End `program` with one line on standard error and exit code 2."""
    # The exit code matters even if nobody reads the line.
    with contextlib.suppress(OSError):
        print(f"{program}: {problem}", file=sys.stderr, flush=True)
    raise SystemExit(EXIT_WRONG_SETTING)


def _is_secret(settings: type[Settings], name: str) -> bool:
    field = settings.model_fields.get(name)
    return field is not None and SecretStr in (field.annotation, *get_args(field.annotation))


def _check_listening(value: str) -> str:
    parse_zmq_address(value)
    return value


def _check_peer(value: str, info: ValidationInfo) -> str:
    address = parse_peer_address(value)
    if address.is_file and os.name == "posix":
        relay_uid = info.data.get("relay_uid")
        trusted = {own_uid()} if relay_uid is None else {own_uid(), relay_uid}
        if stranger := stranger_at(Path(address.path), frozenset(trusted)):
            raise ValueError(f"another user could pose as the relay: {stranger}")
    return value


def _split(value: object) -> object:
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return value


ListenEndpoint = Annotated[str, AfterValidator(_check_listening)]
"""The ZeroMQ address of a socket that listens: `tcp://HOST:PORT` or `ipc://PATH`."""

PeerEndpoint = Annotated[str, AfterValidator(_check_peer)]
"""A ZeroMQ address to connect to."""

CommaSeparated = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split)]
"""Several values in one variable, separated by commas."""


def _upper(value: object) -> object:
    return value.upper() if isinstance(value, str) else value


LogLevel = Annotated[Literal["DEBUG", "INFO", "WARNING", "ERROR"], BeforeValidator(_upper)]
"""In upper or lower case: web servers and `logging` differ."""


def _check_kinds(kinds: tuple[str, ...]) -> tuple[str, ...]:
    for kind in kinds:
        if not is_kind(kind):
            raise ValueError(
                f"{kind!r} is not a kind: use 1 to 64 of a-z, 0-9, '_' and '-', a letter first"
            )
        if kind in RESERVED_KINDS.difference(INTERNAL_STREAMS):
            raise ValueError(f"must not name {kind!r}, which Event Relay itself uses")
    if TASK not in kinds:
        raise ValueError(f"must contain {TASK!r}, whose events may not be lost")
    distinct = tuple(dict.fromkeys((*kinds, ADDRESSED)))
    if len(distinct) > MAX_STREAMS:
        raise ValueError(f"names {len(distinct)} kinds, the limit is {MAX_STREAMS}")
    return tuple(dict.fromkeys((*distinct, *INTERNAL_STREAMS)))


JournaledKinds = Annotated[CommaSeparated, AfterValidator(_check_kinds)]
"""The kinds of topics that are streams, separated by commas; `INTERNAL_STREAMS` always are."""
