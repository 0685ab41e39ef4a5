"""Files of tokens by which programs, such as Prometheus, may read what others may not."""

from pathlib import Path

from edge.config import EdgeSettings
from relay.shared.private_modes import lax_mode
from relay.shared.settings_error import SettingsError

FILE = "file:"
"""Begins a grant to whoever shows a token that is a line of the file."""
MIN_TOKEN_CHARS = 16


def check_tokens(settings: EdgeSettings) -> None:
    """Raise `SettingsError` for a file of tokens that cannot be used."""
    for setting, grants in settings.grants.items():
        for path in files_in(grants):
            read_tokens(setting, path)


def files_in(grants: tuple[str, ...]) -> list[Path]:
    """Return the files of tokens."""
    return [Path(each.removeprefix(FILE)) for each in grants if each.startswith(FILE)]


def read_tokens(setting: str, path: Path) -> list[bytes]:
    """Return the tokens in the file, one a line. Raises `SettingsError`."""
    if (advice := lax_mode(path)) is not None:
        raise SettingsError(f"{setting}: {path}: {advice}")
    try:
        tokens = path.read_bytes().split()
    except OSError as error:
        raise SettingsError(f"{setting}: cannot read {path}: {error.strerror}") from None
    if not tokens or min(map(len, tokens)) < MIN_TOKEN_CHARS:
        raise SettingsError(
            f"{setting}: {path} must hold a token of at least {MIN_TOKEN_CHARS} characters a line"
        )
    return tokens
