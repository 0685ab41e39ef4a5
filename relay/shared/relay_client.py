"""`RelayClientSettings`: the settings that all who connect to the relay have."""

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field, ValidationInfo

from relay.shared.curve_keys import ClientKeys, parse_public_key, read_key_file
from relay.shared.settings import Settings


def _check_key_file(path: Path | None) -> Path | None:
    if path is not None:
        read_key_file(path)
    return path


def _check_relay_key(key: str | None, info: ValidationInfo) -> str | None:
    own = info.data.get("curve_key_file")
    if key is None:
        if own is not None:
            raise ValueError("must be set as well: the public key of the relay")
        return None
    parse_public_key(key)
    if own is None:
        raise ValueError("needs a key of one's own too, in the file that CURVE_KEY_FILE names")
    return key


CurveKeyFile = Annotated[Path | None, AfterValidator(_check_key_file)]
"""A file of `event-relay keys new`."""


class RelayClientSettings(Settings):
    """The settings that all who connect to the relay have."""

    curve_key_file: CurveKeyFile = None
    """The file with this process's own key, for a relay that asks for one."""
    relay_curve_key: Annotated[str | None, AfterValidator(_check_relay_key)] = Field(
        default=None, validate_default=True
    )
    """The public key of the relay: no other one is spoken to."""

    relay_uid: int | None = Field(default=None, ge=0, le=2**32 - 2)
    """The user of the relay, if it is another one: whose directory an `ipc://` path may be in."""

    @property
    def keys(self) -> ClientKeys | None:
        """The keys to connect with, None without encryption. Raises `ValueError`."""
        if self.curve_key_file is None or self.relay_curve_key is None:
            return None
        own = read_key_file(self.curve_key_file)
        return ClientKeys(own, parse_public_key(self.relay_curve_key))
