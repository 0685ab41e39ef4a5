"""The settings of the edge: the `EDGE_*` variables."""

import re
import secrets
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, SecretStr

from edge.core.hub.subscription_quota import QuotaLimits
from edge.core.identity.credentials import COOKIE_NAME, HOST_PREFIX, CredentialRules
from edge.core.identity.proxies import TrustedProxies
from edge.core.identity.tokens import MIN_SECRET_BYTES
from edge.core.session import SessionLimits
from edge.core.websocket.close_codes import CloseCodes
from edge.private_files import write_private
from relay.shared.addresses import parse_listen_address
from relay.shared.contract_modules import EXAMPLE
from relay.shared.file_lock import lock_beside
from relay.shared.private_modes import lax_mode, make_private_directory
from relay.shared.settings import (
    MAX_BYTES,
    MAX_COUNT,
    CommaSeparated,
    LogLevel,
    PeerEndpoint,
    Settings,
    SettingsError,
    default_data_dir,
    settings_config,
)
from relay.wire.errors import InvalidTopic
from relay.wire.topics import parse_pattern

_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}\Z")
"""A token of HTTP (RFC 9110, section 5.6.2), as names of cookies are."""
MAX_TTL_S = 10 * 365 * 86_400
MAX_MESSAGE_BYTES = 2**30

_GRANTS = ("loopback", "user", "admin", "everybody")
_HOST = re.compile(r"(\*\.)?[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*\Z|\[[0-9A-Fa-f:.]+\]\Z")
_ORIGIN = re.compile(r"https?://[^/\s]+\Z")


def _check_prefixes(prefixes: tuple[str, ...]) -> tuple[str, ...]:
    if not prefixes:
        raise ValueError("must name at least one topic prefix, such as event:")
    for prefix in prefixes:
        try:
            parse_pattern(f"{prefix}*")
        except InvalidTopic as error:
            raise ValueError(f"must be topic prefixes such as event:,task: ({error})") from None
    return prefixes


def _check_host(host: str) -> str:
    parse_listen_address(host)
    return host


def _check_origins(origins: tuple[str, ...]) -> tuple[str, ...]:
    for origin in origins:
        if not _ORIGIN.match(origin):
            raise ValueError("must be origins such as https://example.org, separated by commas")
    return origins


def _check_cookie_name(name: str | None) -> str | None:
    if name is not None and not _TOKEN.match(name):
        raise ValueError("must be 1 to 100 letters, digits and any of !#$%&'*+-.^_`|~")
    if name is not None and name.startswith("__"):
        raise ValueError("must not begin with __: by TLS, the edge itself puts __Host- before it")
    return name


def _check_grants(grants: tuple[str, ...]) -> tuple[str, ...]:
    for grant in grants:
        if grant not in _GRANTS and not (grant.startswith("file:") and len(grant) > len("file:")):
            raise ValueError(f"must be of {', '.join(_GRANTS)} and file:PATH, separated by commas")
    return grants


def _check_hosts(hosts: tuple[str, ...]) -> tuple[str, ...]:
    for host in hosts:
        if not _HOST.match(host):
            raise ValueError(
                "must be names such as example.org or *.example.org, without a scheme or a port"
            )
    return tuple(host.lower() for host in hosts)


def _check_proxies(proxies: tuple[str, ...]) -> tuple[str, ...]:
    try:
        TrustedProxies.parse(proxies)
    except ValueError:
        raise ValueError("must be addresses or networks such as 10.0.0.0/8, or *") from None
    return proxies


def _check_modules(modules: tuple[str, ...]) -> tuple[str, ...]:
    for name in modules:
        if not all(part.isidentifier() for part in name.split(".")):
            raise ValueError("must be names of modules such as myapp.events, separated by commas")
    return modules


def _check_secret(secret: SecretStr | None) -> SecretStr | None:
    if secret is not None and len(secret.get_secret_value().encode()) < MIN_SECRET_BYTES:
        raise ValueError(f"must have at least {MIN_SECRET_BYTES} bytes")
    return secret


class EdgeSettings(Settings):
    """The address of the edge, the relay that it follows, the limits of its clients."""

    model_config = settings_config("EDGE_")

    host: Annotated[str, AfterValidator(_check_host)] = "127.0.0.1"
    """Where to listen: an address, a name, or `unix:PATH`."""
    port: int = Field(default=8000, ge=1, le=65535)
    tls_cert: Path | None = None
    """Certificate in PEM, with which the edge itself speaks TLS."""
    tls_key: Path | None = None
    workers: int = Field(default=1, ge=1, le=256)
    relay_egress: PeerEndpoint = "tcp://127.0.0.1:5556"
    relay_control: PeerEndpoint = "tcp://127.0.0.1:5557"
    relay_timeout_s: float = Field(default=3.0, ge=0.2, le=60)
    """Silence after which the relay counts as lost."""
    topic_prefixes: Annotated[CommaSeparated, AfterValidator(_check_prefixes)] = ("",)
    """The topics this edge serves; all by default."""
    data_dir: Path = Field(default_factory=lambda: default_data_dir("EDGE_DATA_DIR"))
    """Directory of the secret and the users file, unless those are given."""
    jwt_secret: Annotated[SecretStr | None, AfterValidator(_check_secret)] = None
    users_file: Path | None = None
    token_ttl_s: int = Field(default=8 * 3600, ge=60, le=MAX_TTL_S)
    remembered_ttl_s: int = Field(default=28 * 86_400, ge=60, le=MAX_TTL_S)
    """Seconds that a token is valid when the user asked to be remembered."""
    cookie_name: Annotated[str | None, AfterValidator(_check_cookie_name)] = None
    """The cookie that signing in sets; by default `access_token_cookie_` and the port."""
    allowed_origins: Annotated[CommaSeparated, AfterValidator(_check_origins)] = ()
    """Origins, beside the edge's own, whose pages may use the cookie on `/ws`."""
    metrics_access: Annotated[CommaSeparated, AfterValidator(_check_grants)] = ("loopback",)
    """Those who may read `/metrics`."""
    docs_access: Annotated[CommaSeparated, AfterValidator(_check_grants)] = ("loopback",)
    """Those who may read the documentation of the API."""
    admin_access: Literal["loopback", "everybody"] = "loopback"
    """From where the role `admin` may act on users."""
    allowed_hosts: Annotated[CommaSeparated, AfterValidator(_check_hosts)] = ()
    """Names by which requests may call this edge; all if empty."""
    trusted_proxies: Annotated[CommaSeparated, AfterValidator(_check_proxies)] = (
        "127.0.0.1",
        "::1",
    )
    """Addresses and networks of proxies whose forwarded headers count."""
    authentication_timeout_s: float = Field(default=5.0, ge=0.1, le=60)
    close_codes: CloseCodes = CloseCodes.STANDARD
    """Those in close frames: `legacy` for front ends that do not come back after 4000 and more."""
    max_message_bytes: int = Field(default=64 * 1024, ge=1024, le=MAX_MESSAGE_BYTES)
    max_connections: int = Field(default=20_000, ge=1, le=MAX_COUNT)
    max_connections_per_user: int = Field(default=1_000, ge=1, le=MAX_COUNT)
    max_subscriptions: int = Field(default=1_000, ge=1, le=MAX_COUNT)
    max_subscriptions_per_user: int = Field(default=10_000, ge=1, le=MAX_COUNT)
    max_subscription_bytes_per_user: int = Field(default=2 * 1024 * 1024, ge=255, le=MAX_BYTES)
    """Bytes of the topics that one user is subscribed to."""
    max_subscriptions_total: int = Field(default=200_000, ge=1, le=MAX_COUNT)
    max_subscription_total_bytes: int = Field(default=32 * 1024 * 1024, ge=255, le=MAX_BYTES)
    """Bytes of the topics that all users of a worker are subscribed to."""
    max_queued_bytes: int = Field(default=4 * 1024 * 1024, ge=1024, le=MAX_BYTES)
    """Bytes that may wait for one slow client."""
    max_queued_total_bytes: int = Field(default=256 * 1024 * 1024, ge=1024, le=MAX_BYTES)
    """Bytes that may wait for all slow clients of a worker together."""
    admission_wait_s: float = Field(default=5.0, ge=0.05, le=60)
    """New clients are refused (4013) when they would wait longer than this."""
    compression: bool = False
    """Whether clients that support it receive compressed messages."""
    history_bytes: int = Field(default=64 * 1024 * 1024, ge=64 * 1024, le=MAX_BYTES)
    """Memory of a worker for the recent events of all streams, for resuming clients."""
    messages_per_s: float = Field(default=100.0, gt=0, le=MAX_COUNT)
    message_burst: int = Field(default=2_000, ge=1, le=MAX_COUNT)
    position_interval_s: float = Field(default=20.0, ge=0.1, le=86_400)
    contracts: Annotated[CommaSeparated, AfterValidator(_check_modules)] = (EXAMPLE,)
    """Modules that register models of events, for `/api/topics` and `/asyncapi.json`."""
    max_publish_bytes: int = Field(default=2 * 1024 * 1024, ge=1024, le=MAX_MESSAGE_BYTES)
    """Bytes of a request to publish."""
    publish_per_s: float = Field(default=1_000.0, gt=0, le=MAX_COUNT)
    publish_burst: int = Field(default=2_000, ge=1, le=MAX_COUNT)
    """Events of one user by HTTP, in the long run and at once."""
    publish_timeout_s: float = Field(default=5.0, ge=0.1, le=60)
    """Seconds for the relay to acknowledge published events."""
    log_level: LogLevel = "INFO"

    @property
    def users_path(self) -> Path:
        """The path of the users file."""
        return self.users_file or self.data_dir / "users.json"

    @property
    def own_cookie(self) -> str:
        """The name of the cookie that signing in sets; by TLS with `__Host-` before it.

        Browsers keep cookies by host, not by port, so edges on one host need different names.
        """
        return self.cookie_name or f"{COOKIE_NAME}_{self.port}"

    @property
    def credential_rules(self) -> CredentialRules:
        """Where to look for the tokens in requests."""
        own = self.own_cookie
        names = tuple(dict.fromkeys((HOST_PREFIX + own, own, COOKIE_NAME)))
        proxies = TrustedProxies.parse(self.trusted_proxies)
        return CredentialRules(names, self.allowed_origins, proxies, self.allowed_hosts)

    @property
    def grants(self) -> dict[str, tuple[str, ...]]:
        """The grants to read, by the name of their setting."""
        return {
            "EDGE_METRICS_ACCESS": self.metrics_access,
            "EDGE_DOCS_ACCESS": self.docs_access,
        }

    @property
    def session_limits(self) -> SessionLimits:
        """The limits of one client."""
        return SessionLimits(
            self.messages_per_s,
            self.message_burst,
            self.max_subscriptions,
            self.max_connections_per_user,
        )

    @property
    def quota_limits(self) -> QuotaLimits:
        """The limits of the subscriptions of one user, and of a worker."""
        return QuotaLimits(
            self.max_subscriptions_per_user,
            self.max_subscription_bytes_per_user,
            self.max_subscriptions_total,
            self.max_subscription_total_bytes,
        )

    def users(self) -> Path:
        """Return the path of the users file. Raises `SettingsError` if others may use it."""
        setting = "EDGE_DATA_DIR" if self.users_file is None else "EDGE_USERS_FILE"
        _refuse_lax(setting, self.users_path)
        return self.users_path

    def secret(self) -> str:
        """Return the secret that signs tokens: the given one, else that in a file, made if missing.

        Raises `SettingsError` when the file cannot be read or made.
        """
        if self.jwt_secret is not None:
            return self.jwt_secret.get_secret_value()
        path = self.data_dir / "jwt-secret"
        _refuse_lax("EDGE_DATA_DIR", path)
        try:
            secret = _read_secret(path) or _make_secret(path)
        except (OSError, UnicodeDecodeError) as error:
            raise SettingsError(f"EDGE_DATA_DIR: cannot keep a secret in {path}: {error}") from None
        if len(secret.encode()) < MIN_SECRET_BYTES:
            raise SettingsError(
                f"EDGE_DATA_DIR: {path} must hold at least {MIN_SECRET_BYTES} bytes; remove it to"
                " have a new one made, which ends all sessions"
            )
        return secret


def _refuse_lax(setting: str, path: Path) -> None:
    """Raise `SettingsError` for a file of secrets that other users may read or write."""
    if (advice := lax_mode(path)) is not None:
        raise SettingsError(f"{setting}: {path}: {advice}")


def _read_secret(path: Path) -> str:
    """Return the secret; "" if there is none, or an empty file that a full disk has left."""
    try:
        return path.read_text().strip()
    except FileNotFoundError:
        return ""


def _make_secret(path: Path) -> str:
    make_private_directory(path.parent)
    # Of several processes that start together, exactly one makes the secret.
    with lock_beside(path, wait=True):
        secret = _read_secret(path)
        if not secret:
            secret = secrets.token_urlsafe(MIN_SECRET_BYTES)
            write_private(path, secret.encode())
    return secret
