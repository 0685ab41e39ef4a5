"""The edge's files with secrets: refused if other users may use them, made where they are missing.

`jwt-secret` holds the secrets that sign tokens, one a line; `users.json` hashes of passwords.
"""

import secrets
from pathlib import Path

from edge.core.identity.keys import MAX_SECRETS, MIN_SECRET_BYTES
from edge.private_files import write_private
from relay.shared.file_lock import lock_beside
from relay.shared.private_modes import lax_mode, make_private_directory
from relay.shared.settings_error import SettingsError


def refuse_lax(setting: str, path: Path) -> None:
    """Raise `SettingsError` for a file of secrets that other users may read or write."""
    if (advice := lax_mode(path)) is not None:
        raise SettingsError(f"{setting}: {path}: {advice}")


def secrets_in(setting: str, path: Path, *, may_make: bool) -> tuple[str, ...]:
    """Return the secrets in a file, one a line; with `may_make` one is made if there is none.

    Raises `SettingsError` when the file cannot be read or made, or holds a secret that is too
    short.
    """
    refuse_lax(setting, path)
    try:
        text = _read(path) or (_make(path) if may_make else "")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{setting}: cannot keep a secret in {path}: {error}") from None
    found = tuple(line.strip() for line in text.splitlines() if line.strip())
    if len(found) > MAX_SECRETS:
        raise SettingsError(f"{setting}: {path} holds more than {MAX_SECRETS} secrets")
    if not found or min(len(each.encode()) for each in found) < MIN_SECRET_BYTES:
        advice = "; remove it to have a new one made, which ends all sessions"
        raise SettingsError(
            f"{setting}: {path} must hold at least {MIN_SECRET_BYTES} bytes in each line"
            f"{advice if may_make else ''}"
        )
    return found


def _read(path: Path) -> str:
    """Return the secrets; "" if there is none, or an empty file that a full disk has left."""
    try:
        return path.read_text().strip()
    except FileNotFoundError:
        return ""


def _make(path: Path) -> str:
    make_private_directory(path.parent)
    # Of several processes that start together, exactly one makes the secret.
    with lock_beside(path, wait=True):
        secret = _read(path)
        if not secret:
            secret = secrets.token_urlsafe(MIN_SECRET_BYTES)
            write_private(path, secret.encode())
    return secret
