"""The verifier of tokens that the settings ask for, and the files of its keys."""

import contextlib
import logging
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from edge.config import EdgeSettings
from edge.core.identity.keys import MAX_JWKS_BYTES, InvalidKeys, Key, Keys, public_key
from edge.core.identity.revocations import Revocations
from edge.core.identity.tokens import Tokens
from edge.key_provider import KeyProvider
from relay.shared.settings import SettingsError

_LOOPBACK = ("localhost", "127.0.0.1", "::1")

logger = logging.getLogger(__name__)


class Verifier(NamedTuple):
    """The tokens of an edge, if it knows its users by tokens."""

    tokens: Tokens | None = None
    provider: KeyProvider | None = None
    """Keeps the keys of an identity provider up to date."""

    def running(self) -> contextlib.AbstractContextManager[None]:
        """Read these keys during the body."""
        if self.provider is None:
            return contextlib.nullcontext()
        parts = urlsplit(self.provider.source)
        # Only now: a refusal is one line.
        if parts.scheme == "http" and parts.hostname not in _LOOPBACK:
            logger.warning("EDGE_JWT_JWKS: whoever is on the way of http can forge every token")
        return self.provider.running()


def keys_of(settings: EdgeSettings) -> tuple[Keys, KeyProvider | None]:
    """Return the keys, and what keeps those of an identity provider up to date.

    Raises `SettingsError` for a file that is missing or holds no usable keys, and if no key could
    ever verify a token.
    """
    secrets = settings.secrets()
    public = tuple(_public_keys(settings.jwt_public_keys))
    provider = _provider(settings)
    signed = {name for name in settings.jwt_algorithms if name != "HS256"}
    for each in public:
        if each.algorithm not in signed:
            raise SettingsError(
                f"EDGE_JWT_ALGORITHMS: lacks {each.algorithm}, of a key in EDGE_JWT_PUBLIC_KEYS"
            )
    if signed and not public and provider is None:
        raise SettingsError(
            f"EDGE_JWT_ALGORITHMS: {', '.join(sorted(signed))} needs EDGE_JWT_PUBLIC_KEYS or"
            " EDGE_JWT_JWKS"
        )
    if provider is not None and not signed:
        raise SettingsError("EDGE_JWT_ALGORITHMS: lacks those of the keys in EDGE_JWT_JWKS")
    return Keys(secrets, public, provider, settings.jwt_algorithms), provider


def verifier_of(settings: EdgeSettings, revocations: Revocations | None) -> Verifier:
    """Return the verifier. Raises `SettingsError`."""
    keys, provider = keys_of(settings)
    return Verifier(Tokens(keys, settings.claim_rules, revocations), provider)


def _public_keys(paths: Iterable[str]) -> Iterable[Key]:
    for path in paths:
        try:
            with Path(path).open("rb") as file:
                yield public_key(file.read(MAX_JWKS_BYTES))
        except OSError as error:
            raise SettingsError(f"EDGE_JWT_PUBLIC_KEYS: {path}: {error.strerror}") from None
        except InvalidKeys as error:
            raise SettingsError(f"EDGE_JWT_PUBLIC_KEYS: {path} {error}") from None


def _provider(settings: EdgeSettings) -> KeyProvider | None:
    source = settings.jwt_jwks
    if source is None:
        return None
    provider = KeyProvider(source, settings.jwt_jwks_interval_s, settings.jwt_jwks_max_age_s)
    try:
        # A server may be away now, and is no setting.
        if not provider.is_url:
            provider.read()
    except InvalidKeys as error:
        raise SettingsError(f"EDGE_JWT_JWKS: {source} {error}") from None
    return provider
