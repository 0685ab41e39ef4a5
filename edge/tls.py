"""`ServerCertificate`: TLS with a certificate in files that may be replaced at any time.

Each handshake looks at the files, once in `LOOK_INTERVAL_S` at most. If they have changed, it and
all later ones use the new certificate; open connections stay. Files that do not fit each other, as
in the midst of a renewal, are logged once, and the certificate before stays in use.
"""

import logging
import ssl
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import uvicorn

from relay.shared.private_modes import lax_mode
from relay.shared.settings_error import SettingsError

LOOK_INTERVAL_S = 1.0

logger = logging.getLogger(__name__)


class CertificateFiles(NamedTuple):
    """The files in PEM; those of the settings `EDGE_TLS_CERT` and `EDGE_TLS_KEY`."""

    certificate: Path
    """With the certificates of its issuers behind it."""
    key: Path

    def context(self) -> ssl.SSLContext:
        """Return a server's context. Raises `SettingsError`."""
        if (advice := lax_mode(self.key)) is not None:
            raise SettingsError(f"EDGE_TLS_KEY: {self.key}: {advice}")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        # RFC 8996: nobody may use earlier ones. Ciphers are those of OpenSSL and the machine.
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
        context.set_alpn_protocols(["http/1.1"])
        for name, path in (("EDGE_TLS_CERT", self.certificate), ("EDGE_TLS_KEY", self.key)):
            try:
                path.read_bytes()
            except OSError as error:
                raise SettingsError(f"{name}: cannot read {path}: {error.strerror}") from None
        try:
            # Without the callback OpenSSL would ask the terminal for a passphrase.
            context.load_cert_chain(self.certificate, self.key, password=_no_passphrase)
        except (ssl.SSLError, ValueError, OSError) as error:
            raise SettingsError(
                f"EDGE_TLS_CERT: {self.certificate} and {self.key} are not a certificate in PEM and"
                f" its key without a passphrase ({_reason(error)})"
            ) from None
        return context

    def state(self) -> tuple[object, ...]:
        """Return what changes when a file is replaced or written."""
        return tuple(_state_of(path) for path in self)


class ServerCertificate:
    """The certificate of one server, from the files as they are now."""

    def __init__(self, files: CertificateFiles) -> None:
        """Raises `SettingsError` for files that cannot be used."""
        self._files = files
        self._state = files.state()
        self._looked_at = time.monotonic()
        self._current = files.context()
        self.context = files.context()
        """For the server: it gives each handshake the current certificate."""
        self.context.sni_callback = self._choose

    def _choose(self, connection: ssl.SSLObject, _name: str | None, _: ssl.SSLContext) -> None:
        """Called by OpenSSL for every handshake, also for one without a name of a server."""
        now = time.monotonic()
        if now - self._looked_at >= LOOK_INTERVAL_S:
            self._looked_at = now
            self._look()
        connection.context = self._current

    def _look(self) -> None:
        state = self._files.state()
        if state == self._state:
            return
        self._state = state
        try:
            self._current = self._files.context()
        except SettingsError as error:
            logger.error("the certificate before stays in use: %s", error)
        else:
            logger.info("a new certificate is in use: %s", self._files.certificate)


class TlsConfig(uvicorn.Config):
    """A server's configuration with TLS; also in the workers, to which it is sent."""

    def __init__(self, app: Callable[..., Any], files: CertificateFiles, **options: Any) -> None:
        super().__init__(app, ssl_context_factory=partial(_server_context, files), **options)

    def load(self) -> None:
        """See uvicorn. The handshakes are ours: uvicorn's would count for nobody."""
        super().load()
        context, self.ssl = self.ssl, None
        # Only here, for the certificate is looked at without the server's packages.
        from edge.websocket.tls_door import TlsDoor

        self.http_protocol_class = partial(TlsDoor, context)  # type: ignore[assignment,arg-type]


def _server_context(files: CertificateFiles, _config: object, _default: object) -> ssl.SSLContext:
    return ServerCertificate(files).context


def _no_passphrase() -> bytes:
    return b""


def _reason(error: Exception) -> str:
    return getattr(error, "reason", None) or str(error) or type(error).__name__


def _state_of(path: Path) -> object:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size
