"""Reads settings from the environment, and refuses wrong ones with one line.

A settings class is frozen, reads the environment once, and is built in a program's `__main__`.
"""

import contextlib
import sys
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn, TypeVar, get_args

from pydantic import AfterValidator, BeforeValidator, SecretStr, ValidationError
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from relay.shared.addresses import parse_peer_address, parse_zmq_address
from relay.wire.topics import ADDRESSED, TASK, is_kind

S = TypeVar("S", bound="Settings")

EXIT_WRONG_SETTING = 2
MAX_BYTES = 2**44
MAX_COUNT = 1_000_000_000
"""Upper bounds of settings, far above any use: each number has two bounds."""
MAX_JOURNALED_KINDS = 64


class SettingsError(Exception):
    """A setting that cannot be used; the text names the setting and the allowed values."""


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


def load(settings: type[S], **overrides: Any) -> S:
    """Return `settings` from the environment and `overrides`. Raises `SettingsError`.

    An override that is None counts as not given.
    """
    given = {name: value for name, value in overrides.items() if value is not None}
    try:
        return settings(**given)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        name = str(first["loc"][0]) if first["loc"] else ""
        prefix = settings.model_config.get("env_prefix", "")
        problem = first["msg"].removeprefix("Value error, ")
        # The error line ends up in logs.
        shown = "" if _is_secret(settings, name) else f" (it is {str(first['input'])[:80]!r})"
        raise SettingsError(f"{prefix}{name.upper()}: {problem}{shown}") from None


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


def _check_peer(value: str) -> str:
    parse_peer_address(value)
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
    if TASK not in kinds:
        raise ValueError(f"must contain {TASK!r}, whose events may not be lost")
    distinct = tuple(dict.fromkeys((*kinds, ADDRESSED)))
    if len(distinct) > MAX_JOURNALED_KINDS:
        raise ValueError(f"names {len(distinct)} kinds, the limit is {MAX_JOURNALED_KINDS}")
    return distinct


JournaledKinds = Annotated[CommaSeparated, AfterValidator(_check_kinds)]
"""The kinds of topics that are streams, separated by commas; `addressed` always is one."""
